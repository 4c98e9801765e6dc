// LaTeX maths -> MathML, which browsers draw by themselves. A small part of LaTeX: a formula with anything else in it stays
// as its source, whole.

const kSpace = "http://www.w3.org/1998/Math/MathML";
const kMaxChars = 4000;
const kMaxDepth = 24;

const table = (text) => new Map(text.trim().split(/\s+/).map((pair) => pair.split(/:(.*)/)));

const kLetters = table(`alpha:α beta:β gamma:γ delta:δ epsilon:ϵ varepsilon:ε zeta:ζ eta:η theta:θ vartheta:ϑ iota:ι kappa:κ lambda:λ
  mu:μ nu:ν xi:ξ pi:π rho:ρ sigma:σ tau:τ upsilon:υ phi:ϕ varphi:φ chi:χ psi:ψ omega:ω Gamma:Γ Delta:Δ Theta:Θ Lambda:Λ Xi:Ξ Pi:Π
  Sigma:Σ Upsilon:Υ Phi:Φ Psi:Ψ Omega:Ω infty:∞ partial:∂ nabla:∇ ell:ℓ hbar:ℏ emptyset:∅ varnothing:∅ Re:ℜ Im:ℑ aleph:ℵ ldots:…
  dots:… cdots:⋯ vdots:⋮ ddots:⋱ top:⊤ bot:⊥ angle:∠ triangle:△ degree:°`);
const kOperators = table(`times:× cdot:⋅ div:÷ pm:± mp:∓ ast:∗ star:⋆ circ:∘ bullet:∙ oplus:⊕ otimes:⊗ leq:≤ le:≤ geq:≥ ge:≥ neq:≠ ne:≠
  approx:≈ equiv:≡ sim:∼ simeq:≃ cong:≅ propto:∝ ll:≪ gg:≫ in:∈ notin:∉ ni:∋ subset:⊂ subseteq:⊆ supset:⊃ supseteq:⊇ cup:∪ cap:∩
  setminus:∖ land:∧ wedge:∧ lor:∨ vee:∨ neg:¬ lnot:¬ forall:∀ exists:∃ to:→ rightarrow:→ leftarrow:← Rightarrow:⇒ Leftarrow:⇐
  leftrightarrow:↔ Leftrightarrow:⇔ implies:⟹ iff:⟺ mapsto:↦ longrightarrow:⟶ uparrow:↑ downarrow:↓ mid:∣ parallel:∥ perp:⊥ vdash:⊢
  models:⊨ therefore:∴ because:∵ prime:′ colon:: langle:⟨ rangle:⟩ lfloor:⌊ rfloor:⌋ lceil:⌈ rceil:⌉ lvert:| rvert:| vert:| lVert:‖
  rVert:‖ Vert:‖ lbrace:{ rbrace:} backslash:\\ |:‖ {:{ }:} %:% $:$ #:# &:& _:_`);
const kLarge = table("sum:∑ prod:∏ coprod:∐ bigcup:⋃ bigcap:⋂ bigoplus:⨁ bigotimes:⨂ bigvee:⋁ bigwedge:⋀");
const kIntegrals = table("int:∫ iint:∬ iiint:∭ oint:∮");
const kFunctions = new Set(("sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln lg exp deg dim ker hom arg det gcd Pr").split(" "));
const kLimits = new Set("lim max min sup inf limsup liminf argmax argmin".split(" "));
const kAccents = table("hat:^ widehat:^ bar:¯ overline:¯ vec:→ overrightarrow:→ tilde:~ widetilde:~ dot:˙ ddot:¨ overbrace:⏞");
const kBelow = table("underline:_ underbrace:⏟");
const kSpaces = new Map([[",", 0.17], [":", 0.22], [">", 0.22], [";", 0.28], ["!", -0.17], [" ", 0.3], ["quad", 1], ["qquad", 2], ["enspace", 0.5], ["thinspace", 0.17]]);
const kNothing = new Set(["displaystyle", "textstyle", "big", "Big", "bigg", "Bigg", "bigl", "bigr",
  "Bigl", "Bigr", "biggl", "biggr", "Biggl", "Biggr", "bigm", "nonumber", "notag"]);
const kFences = {matrix: "", smallmatrix: "", pmatrix: "()", bmatrix: "[]", Bmatrix: "{}", vmatrix: "||", Vmatrix: "‖‖", cases: "{", aligned: "", align: "", "align*": "",
  gathered: "", gather: "", "gather*": "", split: "", equation: "", "equation*": "", array: ""};
const kAligned = new Set(["aligned", "align", "align*", "split"]);

// Letters of other alphabets that have code points of their own; the few that Unicode placed elsewhere are named.
const kAlphabets = {
  mathbb: [0x1d538, 0x1d552, {C: "ℂ", H: "ℍ", N: "ℕ", P: "ℙ", Q: "ℚ", R: "ℝ", Z: "ℤ"}],
  mathcal: [0x1d49c, 0x1d4b6, {B: "ℬ", E: "ℰ", F: "ℱ", H: "ℋ", I: "ℐ", L: "ℒ", M: "ℳ", R: "ℛ", e: "ℯ", g: "ℊ", o: "ℴ"}],
  mathbf: [0x1d400, 0x1d41a, {}],
  boldsymbol: [0x1d468, 0x1d482, {}],
};
kAlphabets.mathscr = kAlphabets.mathcal;

// -> a <math> element, or null when the source has something that this file does not know.
export function render_maths(source, display) {
  if (source.length > kMaxChars) return null;
  try {
    const parser = new Parser(source, display);
    const nodes = parser.list(() => parser.next === undefined);
    const math = make("math", {title: source.trim()}, nodes);
    if (display) math.setAttribute("display", "block");
    return math;
  } catch (error) {
    if (error instanceof Unknown) return null;
    throw error;
  }
}

class Unknown extends Error {}

function make(tag, attributes, children) {
  const element = document.createElementNS(kSpace, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const row = (nodes) => (nodes.length === 1 ? nodes[0] : make("mrow", {}, nodes));
const leaf = (tag, text, attributes = {}) => make(tag, attributes, [text]);
const fence = (text) => leaf("mo", text, {fence: "true", stretchy: "true"});

class Parser {
  constructor(source, display) {
    this.tokens = source.match(/\\(?:operatorname\*|[a-zA-Z]+|[^])|\d+(?:\.\d+)?|\s+|[^]/gu) ?? [];
    this.at = 0;
    this.display = display;
    this.depth = 0;
  }

  get next() {
    return this.tokens[this.at];
  }

  take() {
    if (this.at >= this.tokens.length) throw new Unknown();
    return this.tokens[this.at++];
  }

  skip_space() {
    while (/^\s+$/.test(this.next ?? "")) ++this.at;
  }

  // Atoms with their scripts, up to where `ends` holds.
  list(ends) {
    if (++this.depth > kMaxDepth) throw new Unknown();
    const nodes = [];
    for (this.skip_space(); !ends(); this.skip_space()) {
      const node = this.scripted();
      if (node) nodes.push(node);
    }
    --this.depth;
    return nodes;
  }

  // {...} or one atom; of a number its first digit
  argument() {
    this.skip_space();
    if (/^\d./.test(this.next ?? "")) this.tokens.splice(this.at, 1, this.next[0], this.next.slice(1));
    if (this.next !== "{") return this.atom(this.take()) ?? make("mrow", {}, []);
    this.take();
    const nodes = this.list(() => this.next === "}");
    this.take();
    return row(nodes);
  }

  // The text of {...}, which holds no braces
  word() {
    this.skip_space();
    if (this.take() !== "{") throw new Unknown();
    let text = "";
    while (this.next !== "}") {
      const token = this.take();
      if (token === "{" || (token[0] === "\\" && token.length > 2)) throw new Unknown();
      text += token[0] !== "\\" ? token : kSpaces.has(token[1]) ? " " : token[1];
    }
    this.take();
    return text;
  }

  scripted() {
    const token = this.next === "^" || this.next === "_" ? "" : this.take();
    const base = token ? this.atom(token) : make("mrow", {}, []);
    const name = token.slice(1);
    if (this.next === "\\limits" || this.next === "\\nolimits") this.take();
    let below = null;
    let above = null;
    for (;;) {
      this.skip_space();
      if (this.next === "'" && !above) {
        let primes = "";
        while (this.next === "'") primes += this.take() && "′";
        above = leaf("mo", primes);
      } else if (this.next === "_" && !below) {
        this.take();
        below = this.argument();
      } else if (this.next === "^" && (!above || above.textContent.startsWith("′"))) {
        this.take();
        above = above ? make("mrow", {}, [above, this.argument()]) : this.argument();
      } else {
        break;
      }
    }
    if (this.next === "^" || this.next === "_") throw new Unknown();
    if (!below && !above) return base;
    const stacked = token[0] === "\\" && ((this.display && kLarge.has(name)) || kLimits.has(name) || name === "underbrace" || name === "overbrace");
    const tags = stacked ? ["munder", "mover", "munderover"] : ["msub", "msup", "msubsup"];
    return make(below && above ? tags[2] : below ? tags[0] : tags[1], {}, [base ?? make("mrow", {}, []), below, above].filter(Boolean));
  }

  atom(token) {
    if (token[0] === "\\" && token.length > 1) return this.command(token.slice(1));
    if (token === "{") {
      const nodes = this.list(() => this.next === "}");
      this.take();
      return row(nodes);
    }
    if (/^\d/.test(token)) return leaf("mn", token);
    if (/^\p{L}$/u.test(token)) return leaf("mi", token);
    if (token === "~") return make("mspace", {width: "0.3em"}, []);
    if (/^[}^_&#$%\\\s]/.test(token)) throw new Unknown();
    return leaf("mo", token === "-" ? "−" : token === "*" ? "∗" : token, "()[]|".includes(token) ? {stretchy: "false"} : {});
  }

  command(name) {
    if (kLetters.has(name)) return leaf("mi", kLetters.get(name), /^[A-Z]/.test(name) ? {mathvariant: "normal"} : {});
    if (kOperators.has(name)) return leaf("mo", kOperators.get(name), "{}".includes(name) ? {stretchy: "false"} : {});
    if (kLarge.has(name)) return leaf("mo", kLarge.get(name), {largeop: "true", movablelimits: "false"});
    if (kIntegrals.has(name)) return leaf("mo", kIntegrals.get(name), {largeop: "true"});
    if (kFunctions.has(name) || kLimits.has(name)) return this.named(name);
    if (kAccents.has(name)) return make("mover", {accent: "true"}, [this.argument(), leaf("mo", kAccents.get(name))]);
    if (kBelow.has(name)) return make("munder", {}, [this.argument(), leaf("mo", kBelow.get(name))]);
    if (kSpaces.has(name)) return make("mspace", {width: `${kSpaces.get(name)}em`}, []);
    if (kNothing.has(name)) return null;
    if (kAlphabets[name]) return this.alphabet(kAlphabets[name]);
    return this.structure(name);
  }

  structure(name) {
    switch (name) {
      case "frac": case "dfrac": case "tfrac": case "cfrac": return make("mfrac", {}, [this.argument(), this.argument()]);
      case "binom": return row([fence("("), make("mfrac", {linethickness: "0"}, [this.argument(), this.argument()]), fence(")")]);
      case "sqrt": return this.root();
      case "text": case "textrm": case "textit": case "textbf": case "mbox": return leaf("mtext", this.word().replaceAll(" ", "\u00a0"));
      case "mathrm": case "operatorname": case "operatorname*": case "mathsf": case "mathtt": return leaf("mi", this.word(), {mathvariant: "normal"});
      case "boxed": return make("mrow", {class: "boxed"}, [this.argument()]);
      case "pmod": return row([leaf("mtext", "(mod\u00a0"), this.argument(), leaf("mtext", ")")]);
      case "tag": return leaf("mtext", `\u2003(${this.word()})`);
      case "bmod": case "mod": return leaf("mo", "mod", {lspace: "0.3em", rspace: "0.3em"});
      case "left": return this.fenced();
      case "middle": return row(this.delimiter());
      case "begin": return this.environment();
      default: throw new Unknown();
    }
  }

  // An operator that is written as a word stands apart from letters, not from brackets.
  named(name) {
    this.skip_space();
    const rspace = this.next === "(" || this.next === "\\left" ? "0" : "0.17em";
    return leaf("mo", name.replace(/^(lim|arg)(?=\w)/, "$1 "), {lspace: "0.17em", rspace});
  }

  root() {
    this.skip_space();
    if (this.next !== "[") return make("msqrt", {}, [this.argument()]);
    this.take();
    const degree = row(this.list(() => this.next === "]"));
    this.take();
    return make("mroot", {}, [this.argument(), degree]);
  }

  delimiter() {
    this.skip_space();
    const token = this.take();
    if (token === ".") return [];
    const text = token[0] === "\\" ? kOperators.get(token.slice(1)) : "()[]|/<>".includes(token) ? token : undefined;
    if (text === undefined) throw new Unknown();
    return [fence(text)];
  }

  // \left( ... \right)
  fenced() {
    const left = this.delimiter();
    const inside = this.list(() => this.next === "\\right");
    this.take();
    return make("mrow", {}, [...left, ...inside, ...this.delimiter()]);
  }

  alphabet([upper, lower, elsewhere]) {
    const text = [...this.word()].map((letter) => {
      if (elsewhere[letter]) return elsewhere[letter];
      if (/[A-Z]/.test(letter)) return String.fromCodePoint(upper + letter.charCodeAt(0) - 65);
      if (/[a-z]/.test(letter)) return String.fromCodePoint(lower + letter.charCodeAt(0) - 97);
      if (/[\d ]/.test(letter)) return letter;
      throw new Unknown();
    });
    return leaf("mi", text.join(""));
  }

  environment() {
    const name = this.word();
    const fences = kFences[name];
    if (fences === undefined) throw new Unknown();
    if (name === "array") this.word();  // the columns' alignment
    const rows = [[[]]];
    for (;;) {
      rows.at(-1).at(-1).push(...this.list(() => ["&", "\\\\", "\\end"].includes(this.next)));
      const token = this.take();
      if (token === "&") rows.at(-1).push([]);
      else if (token === "\\\\") rows.push([[]]);
      else break;
    }
    if (this.word() !== name) throw new Unknown();
    if (rows.at(-1).length === 1 && !rows.at(-1)[0].length) rows.pop();
    const cells = rows.map((cells) => make("mtr", {}, cells.map((nodes) => make("mtd", {}, nodes))));
    const kind = kAligned.has(name) ? "aligned" : name === "cases" ? "cases" : "";
    const body = make("mtable", kind ? {class: kind} : {}, cells);
    return fences ? row([fence(fences[0]), body, ...(fences[1] ? [fence(fences[1])] : [])]) : body;
  }
}
