//! Which characters a key's texts may hold. The documents of the routes are made from these tables.

/// Characters from the first to the last, both included.
pub(crate) type Ranges = &'static [(char, char)];

/// What gives a text of several lines its layout: tab, line feed, carriage return.
pub(crate) const LAYOUT: Ranges = &[('\t', '\n'), ('\r', '\r')];

/// What changes how the text *around* it is shown: the other controls (C0, DEL, C1), which move a
/// cursor; the separators of lines and paragraphs; and the nine characters that embed, override or
/// isolate a direction of writing (CVE-2021-42574). The marks LRM, RLM and ALM are not among them:
/// they overrule no direction, and names in Arabic and Hebrew need them.
pub(crate) const DISRUPTIVE: Ranges = &[
    ('\0', '\u{8}'),
    ('\u{b}', '\u{c}'),
    ('\u{e}', '\u{1f}'),
    ('\u{7f}', '\u{9f}'),
    ('\u{2028}', '\u{2029}'),
    ('\u{202a}', '\u{202e}'),
    ('\u{2066}', '\u{2069}'),
];

/// What shows nothing: Unicode's `White_Space` and `Default_Ignorable_Code_Point`, but for what is
/// in the tables above, and the blank Braille pattern.
pub(crate) const BLANK: Ranges = &[
    (' ', ' '),
    ('\u{a0}', '\u{a0}'),
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{1680}', '\u{1680}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{2000}', '\u{200f}'),
    ('\u{202f}', '\u{202f}'),
    ('\u{205f}', '\u{2065}'),
    ('\u{206a}', '\u{206f}'),
    ('\u{2800}', '\u{2800}'),
    ('\u{3000}', '\u{3000}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fff8}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// Whether a text on one line cannot have this character.
pub(crate) fn breaks_line(c: char) -> bool {
    is_in(LAYOUT, c) || is_in(DISRUPTIVE, c)
}

/// Whether one of these ranges holds this character.
pub(crate) fn is_in(ranges: Ranges, c: char) -> bool {
    ranges.iter().any(|(first, last)| (*first..=*last).contains(&c))
}

/// As much of a name as tells which it is. It may be a key that was sent in the wrong place, and no
/// answer repeats one; the shortest have 16 characters.
pub(crate) fn shown(name: &str) -> String {
    const MAX: usize = 12;
    let start = name.chars().take(MAX);
    let escaped =
        start.map(|c| if breaks_line(c) { c.escape_unicode().to_string() } else { c.to_string() });
    let end = if name.chars().nth(MAX).is_some() { "…" } else { "" };
    escaped.collect::<String>() + end
}
