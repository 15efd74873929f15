/** The parts of an OpenAPI 3.1 document that the page of the interface shows. */

export interface Schema {
  $ref?: string;
  type?: string;
  anyOf?: Schema[];
  items?: Schema;
  prefixItems?: Schema[];
  enum?: unknown[];
  const?: unknown;
  properties?: Record<string, Schema>;
  required?: string[];
  default?: unknown;
  description?: string;
  examples?: unknown[];
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
  minLength?: number;
  maxLength?: number;
  minItems?: number;
  maxItems?: number;
}

export interface Parameter {
  name: string;
  in: "path" | "query" | "header";
  required?: boolean;
  description?: string;
  schema: Schema;
}

type Content = Record<string, { schema?: Schema }>;

export interface Operation {
  tags: string[];
  description: string;
  parameters?: Parameter[];
  requestBody?: { description?: string; content: Content };
  responses: Record<string, { description: string; content?: Content }>;
}

export interface OpenApi {
  info: { title: string; version: string; description: string };
  tags: { name: string; description: string }[];
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, Schema> };
}

/** A row of a table of what can be said: its name, what it may be, and what it means. */
export interface Row {
  name: string;
  type: string;
  required: boolean;
  about: string;
}

/** The schema itself, where there is only its name. */
export function resolved(document: OpenApi, schema: Schema): Schema {
  return schema.$ref ? document.components.schemas[schema.$ref.split("/").pop()!]! : schema;
}

/** The fields of an object, those that are needed first. */
export function fields(document: OpenApi, schema: Schema): Row[] {
  const { properties = {}, required = [] } = resolved(document, schema);
  const rows = Object.entries(properties).map(([name, field]) => ({
    name, type: typeOf(document, field), required: required.includes(name), about: about(field),
  }));
  return [...rows.filter((row) => row.required), ...rows.filter((row) => !row.required)];
}

/** What a value may be, in a few words. */
export function typeOf(document: OpenApi, schema: Schema): string {
  if (schema.$ref) return schema.$ref.split("/").pop()!;
  if (schema.anyOf) return schema.anyOf.filter((one) => one.type !== "null").map((one) => typeOf(document, one)).join(" or ");
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" or ");
  if (schema.type === "array") {
    return schema.prefixItems ? "pair" : `list of ${typeOf(document, schema.items ?? {})}`;
  }
  return (schema.type ?? "anything") + limits(schema);
}

function limits(schema: Schema): string {
  const said = [
    schema.minimum !== undefined && `≥ ${schema.minimum}`, schema.exclusiveMinimum !== undefined && `> ${schema.exclusiveMinimum}`,
    schema.maximum !== undefined && `≤ ${schema.maximum}`, schema.exclusiveMaximum !== undefined && `< ${schema.exclusiveMaximum}`,
    schema.maxLength !== undefined && `at most ${schema.maxLength} characters`,
  ].filter(Boolean);
  return said.length ? ` (${said.join(", ")})` : "";
}

function about(field: Schema): string {
  const usual = field.default === undefined || field.default === null ? "" : `By default ${JSON.stringify(field.default)}.`;
  return [field.description, usual].filter(Boolean).join(" ");
}
