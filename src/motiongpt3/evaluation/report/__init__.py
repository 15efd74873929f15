"""What an evaluation found, for people: tables, pictures, pages."""
