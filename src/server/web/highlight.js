// A light tint for code: comments, strings, numbers, keywords, names that are called. Not a parser; unknown languages get the
// parts that nearly all share.

const kMaxChars = 60000;  // longer code stays plain

const words = (text) => new Set(text.split(" "));

const kC = words("alignas auto bool break case catch char class const constexpr continue default delete do double else enum " +
  "explicit export extern false final float fn for friend func function goto if impl import in inline int interface let long loop " +
  "match mod move mut namespace new nil noexcept null nullptr of operator override package private protected pub public range " +
  "return self short signed sizeof static struct super switch template this throw trait true try type typedef typename typeof " +
  "undefined union unsigned use using var virtual void volatile where while yield async await extends implements defer chan map select");
const kPython = words("and as assert async await break case class continue def del elif else except False finally for from global if " +
  "import in is lambda match None nonlocal not or pass raise return self True try while with yield");
const kShell = words("case do done elif else esac export fi for function if in local read return set then until while cd echo exit source sudo");
const kSql = words("add all alter and as asc between by case create cross delete desc distinct drop else end exists from full group having in " +
  "index inner insert into is join key left like limit not null on or order outer primary references right select set table then " +
  "union unique update values view when where with");
const kJson = words("true false null");

const kSlash = "\\/\\/[^\\n]*|\\/\\*[\\s\\S]*?(?:\\*\\/|$)";
const kHash = "#[^\\n]*";

const kLanguages = {
  c: {keywords: kC, comment: `${kSlash}|^[ \\t]*#[a-z]+`},
  python: {keywords: kPython, comment: kHash, string: "\"\"\"[\\s\\S]*?(?:\"\"\"|$)|'''[\\s\\S]*?(?:'''|$)"},
  shell: {keywords: kShell, comment: "(?<![^\\s;])#[^\\n]*"},
  sql: {keywords: kSql, comment: "--[^\\n]*|\\/\\*[\\s\\S]*?(?:\\*\\/|$)", any_case: true},
  json: {keywords: kJson, comment: "\\/\\/[^\\n]*"},
  markup: {keywords: new Set(), comment: "<!--[\\s\\S]*?(?:-->|$)", tag: "<\\/?[\\w:-]+|\\/?>"},
  config: {keywords: kJson, comment: kHash},
};

const kNames = {
  c: "c cc cpp cxx c++ h hpp cuda cu java js javascript jsx ts typescript tsx go golang rust rs cs csharp kotlin kt swift scala php dart zig css scss proto glsl",
  python: "python py python3",
  shell: "bash sh shell zsh console fish",
  sql: "sql sqlite postgresql mysql",
  json: "json jsonc json5 jsonl",
  markup: "html xml svg vue markup",
  config: "yaml yml toml ini conf dockerfile make makefile cmake ruby rb perl r julia",
};

const kByName = new Map(Object.entries(kNames).flatMap(([family, names]) => names.split(" ").map((name) => [name, family])));
const kPlain = words("text txt plain markdown md diff output");

const kPatterns = new Map();
function pattern_of(family) {
  if (!kPatterns.has(family)) {
    const {comment, string, tag} = kLanguages[family];
    const parts = [
      `(?<comment>${comment})`,
      `(?<string>${string ? `${string}|` : ""}"(?:\\\\.|[^"\\\\\\n])*"?|'(?:\\\\.|[^'\\\\\\n])*'?|\`(?:\\\\.|[^\`\\\\])*\`?)`,
      ...(tag ? [`(?<keyword>${tag})`] : []),
      "(?<number>\\b(?:0[xXbB][\\da-fA-F_']+|\\d[\\d_']*(?:\\.\\d+)?(?:[eE][+-]?\\d+)?)\\w*)",
      "(?<word>[A-Za-z_$][\\w$]*)(?<call>(?=\\())?",
    ];
    kPatterns.set(family, new RegExp(parts.join("|"), "gm"));
  }
  return kPatterns.get(family);
}

// -> text nodes and <span class="t-...">
export function highlight(code, language) {
  const name = language.toLowerCase();
  if (code.length > kMaxChars || kPlain.has(name) || !name) return [document.createTextNode(code)];
  const family = kByName.get(name) ?? "c";
  const {keywords, any_case} = kLanguages[family];
  const nodes = [];
  let done = 0;
  for (const match of code.matchAll(pattern_of(family))) {
    const kind = kind_of(match.groups, keywords, any_case);
    if (!kind) continue;
    if (match.index > done) nodes.push(document.createTextNode(code.slice(done, match.index)));
    const span = document.createElement("span");
    span.className = `t-${kind}`;
    span.textContent = match[0];
    nodes.push(span);
    done = match.index + match[0].length;
  }
  nodes.push(document.createTextNode(code.slice(done)));
  return nodes;
}

function kind_of(groups, keywords, any_case) {
  if (groups.word === undefined) return ["comment", "string", "keyword", "number"].find((kind) => groups[kind] !== undefined);
  if (keywords.has(any_case ? groups.word.toLowerCase() : groups.word)) return "keyword";
  return groups.call === undefined ? null : "call";
}
