// Which words of an answer were drafts that held (speculative decoding): underlined where the browser has the CSS Custom
// Highlight API, which leaves the elements of the drawn Markdown as they are.

const kHighlight = "accepted-drafts";
const kReach = 4000;  // characters of source between two words on the page: the address of a link, the marks of a table
const kMaxRanges = 20000;

// Follows the marks of a stream, [place in characters, whether the token was a draft that held], into ranges of
// node.content. The stream's text begins at `start` of it.
export class DraftMarks {
  constructor(node, start) {
    this.node = node;
    this.unit = start;    // the same place in UTF-16 units and in characters of the stream's text
    this.character = 0;
    this.open = null;     // the range that still grows
  }

  // The text of the tokens is in node.content already.
  take(marks) {
    if (!Array.isArray(marks)) return;
    const {node} = this;
    node.drafts ??= [];
    for (const mark of marks) {
      this.advance(Number(mark?.[0]));
      if (this.open) this.open[1] = this.unit;
      if (mark?.[1] !== true || node.drafts.length >= kMaxRanges) this.open = null;
      else if (!this.open) node.drafts.push(this.open = [this.unit, this.unit]);
    }
    if (this.open) this.open[1] = node.content.length;
  }

  advance(character) {
    const {content} = this.node;
    for (; this.character < character && this.unit < content.length; ++this.character) {
      this.unit += content.codePointAt(this.unit) > 0xffff ? 2 : 1;
    }
  }
}

// `ranges` of `source`, the Markdown that was drawn into `parent`; none removes the marks. Words on the page stand in the
// order of the source, so each is found behind the one before.
export function mark_drafts(parent, source, ranges) {
  if (!("highlights" in CSS)) return;
  if (!CSS.highlights.has(kHighlight)) CSS.highlights.set(kHighlight, new Highlight());
  const highlight = CSS.highlights.get(kHighlight);
  for (const old of parent.quire_drafts ?? []) highlight.delete(old);
  // A range whose text has left the page, such as another version of the answer, has collapsed.
  for (const range of highlight) if (range.collapsed) highlight.delete(range);
  parent.quire_drafts = ranges.length ? found_ranges(parent, source, ranges) : [];
  for (const range of parent.quire_drafts) highlight.add(range);
}

// The drawn texts are gone.
export function forget_drafts() {
  CSS.highlights?.get(kHighlight)?.clear();
}

function found_ranges(parent, source, ranges) {
  const result = [];
  const walker = document.createTreeWalker(parent, NodeFilter.SHOW_TEXT);
  let at = 0;    // of the source: behind the last word
  let next = 0;  // the first range that does not end before it
  while (walker.nextNode()) {
    const text = walker.currentNode;
    if (text.parentElement.closest("math, figcaption")) continue;
    let last = null;
    for (const {0: word, index} of text.data.matchAll(/\S+/g)) {
      const place = source.indexOf(word, at);
      if (place < 0 || place - at > kReach) continue;
      at = place + word.length;
      while (next < ranges.length && ranges[next][1] <= place) ++next;
      for (let i = next; i < ranges.length && ranges[i][0] < at; ++i) {
        const begin = index + Math.max(0, ranges[i][0] - place);
        const end = index + Math.min(word.length, ranges[i][1] - place);
        if (last?.of === i) last.range.setEnd(text, end);
        else result.push((last = {of: i, range: new_range(text, begin, end)}).range);
      }
    }
  }
  return result;
}

function new_range(text, begin, end) {
  const range = document.createRange();
  range.setStart(text, begin);
  range.setEnd(text, end);
  return range;
}
