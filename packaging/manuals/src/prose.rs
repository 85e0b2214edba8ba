//! Markdown for man: headings, paragraphs, lists, definitions, verbatim blocks, emphasis. What man cannot show is left as its text.

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};
use roff::{Inline, Roff, bold, italic, roman};

/// The extensions of Markdown that pages use.
pub(crate) const OPTIONS: Options = Options::ENABLE_DEFINITION_LIST;

/// The body of a page.
pub(crate) fn roff(markdown: &str) -> String {
    let mut prose = Prose::default();
    for event in Parser::new_ext(markdown, OPTIONS) {
        prose.take(event);
    }
    prose.roff.to_roff()
}

#[derive(Default)]
struct Prose {
    roff: Roff,
    /// What has been read of the paragraph or heading.
    line: Vec<Inline>,
    strong: bool,
    emphasis: bool,
    /// Lists around this place; each is `.RS` deeper than the one before.
    lists: usize,
    /// A label has just been set; what follows stands beside it.
    labelled: bool,
    /// Text of a verbatim block.
    verbatim: Option<String>,
}

impl Prose {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.begin(&tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) => match &mut self.verbatim {
                Some(block) => block.push_str(&text),
                None => self.line.push(self.styled(&text)),
            },
            Event::Code(text) => self.line.push(bold(text.as_ref())),
            Event::SoftBreak | Event::HardBreak => self.line.push(roman(" ")),
            _ => {}
        }
    }

    fn styled(&self, text: &str) -> Inline {
        match (self.strong, self.emphasis) {
            (true, _) => bold(text),
            (false, true) => italic(text),
            (false, false) => roman(text),
        }
    }

    fn begin(&mut self, tag: &Tag<'_>) {
        match tag {
            Tag::Paragraph => self.space(),
            Tag::Strong => self.strong = true,
            Tag::Emphasis => self.emphasis = true,
            Tag::List(_) | Tag::DefinitionList => {
                self.flush();
                if self.lists > 0 {
                    self.roff.control("RS", []);
                }
                self.lists += 1;
            }
            Tag::Item => {
                self.roff.control("IP", ["\\(bu", "2"]);
                self.labelled = true;
            }
            Tag::DefinitionListTitle => {
                self.roff.control("TP", []);
            }
            Tag::CodeBlock(_) => {
                self.flush();
                self.verbatim = Some(String::new());
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(level) => self.heading(level),
            TagEnd::Strong => self.strong = false,
            TagEnd::Emphasis => self.emphasis = false,
            TagEnd::Paragraph | TagEnd::Item | TagEnd::DefinitionListDefinition => self.flush(),
            TagEnd::DefinitionListTitle => {
                self.flush();
                self.labelled = true;
            }
            TagEnd::List(_) | TagEnd::DefinitionList => {
                self.lists -= 1;
                if self.lists > 0 {
                    self.roff.control("RE", []);
                }
            }
            TagEnd::CodeBlock => self.block(),
            _ => {}
        }
    }

    /// What separates a paragraph from what was before it.
    fn space(&mut self) {
        if !std::mem::take(&mut self.labelled) {
            self.roff.control(if self.lists > 0 { "IP" } else { "PP" }, []);
        }
    }

    fn flush(&mut self) {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.labelled = false;
            self.roff.text(line);
        }
    }

    fn heading(&mut self, level: HeadingLevel) {
        let text: String = std::mem::take(&mut self.line)
            .into_iter()
            .map(|inline| match inline {
                Inline::Roman(text) | Inline::Bold(text) | Inline::Italic(text) => text,
                Inline::LineBreak => String::new(),
            })
            .collect();
        self.roff.control(if level == HeadingLevel::H1 { "SH" } else { "SS" }, [text.as_str()]);
    }

    fn block(&mut self) {
        let text = self.verbatim.take().unwrap_or_default();
        self.space();
        self.roff.control("RS", ["4"]).control("EX", []);
        for line in text.lines() {
            self.roff.text([roman(line)]);
        }
        self.roff.control("EE", []).control("RE", []);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_construct_is_mans() {
        let cases = [
            ("# NAME\n\nx - y\n", ".SH NAME\n.PP\nx \\- y\n"),
            ("## A thing\n", ".SS \"A thing\"\n"),
            ("a **b** *c* `d`\ne\n", ".PP\na \\fBb\\fR \\fIc\\fR \\fBd\\fR e\n"),
            ("* one\n* two\n", ".IP \\(bu 2\none\n.IP \\(bu 2\ntwo\n"),
            ("`key`\n: what it is\n", ".TP\n\\fBkey\\fR\nwhat it is\n"),
            ("```\n.x 'y'\n```\n", ".PP\n.RS 4\n.EX\n\\&.x 'y'\n.EE\n.RE\n"),
        ];
        for (markdown, expected) in cases {
            assert_eq!(roff(markdown), expected, "{markdown}");
        }
    }
}
