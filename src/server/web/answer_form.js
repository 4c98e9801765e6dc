// What the settings say of an answer's form: a JSON Schema that it must fit, and tools that the model may call. Both are JSON
// texts; what is wrong is said under the field and is not sent.

import {by_id} from "./dom.js";

const kMaxChars = 200000;

function parsed_schema(text) {
  const schema = JSON.parse(text);
  if (schema === null || typeof schema !== "object" || Array.isArray(schema)) throw new Error("A schema is a JSON object.");
  return schema;
}

// A list of tools in OpenAI's form; a bare function is taken for a tool.
function parsed_tools(text) {
  const list = [JSON.parse(text)].flat();
  return list.map((tool) => {
    const described = tool?.function ?? tool;
    if (typeof described?.name !== "string") throw new Error("A tool is an object with a name, a description and parameters.");
    return {type: "function", function: described};
  });
}

const kForms = [
  {name: "schema", parse: parsed_schema, field: (schema) => ({response_format: {type: "json_schema", json_schema: {name: "answer", schema}}}), word: "JSON schema"},
  {name: "tools", parse: parsed_tools, field: (tools) => ({tools}), word: "tools"},
];

export class AnswerForm {
  // settings: {values, set(name, value)}
  constructor(settings) {
    this.settings = settings;
    for (const form of kForms) {
      by_id(form.name).addEventListener("input", ({target}) => {
        settings.set(form.name, target.value.trim() ? target.value.slice(0, kMaxChars) : null);
        this.mark(form);
      });
    }
    this.show();
  }

  show() {
    for (const form of kForms) {
      by_id(form.name).value = this.settings.values[form.name] ?? "";
      this.mark(form);
    }
  }

  // The words of what is wrong; "" when all is well.
  problem(form) {
    const text = this.settings.values[form.name];
    if (!text) return "";
    try {
      form.parse(text);
      return "";
    } catch (error) {
      return `Not sent: ${error.message}`;
    }
  }

  mark(form) {
    const problem = this.problem(form);
    by_id(form.name).toggleAttribute("aria-invalid", problem !== "");
    by_id(`${form.name}_problem`).textContent = problem;
  }

  // Of a request.
  fields() {
    const valid = kForms.filter((form) => this.settings.values[form.name] && !this.problem(form));
    return Object.assign({}, ...valid.map((form) => form.field(form.parse(this.settings.values[form.name]))));
  }

  summary() {
    return kForms.filter((form) => this.settings.values[form.name] && !this.problem(form)).map(({word}) => word);
  }
}

export const kFormNames = kForms.map(({name}) => name);
