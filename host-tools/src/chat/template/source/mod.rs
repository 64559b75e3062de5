//! A template's source, rewritten where minijinja reads it differently.
//!
//! Jinja2 makes every line break a line feed, keeps the line break after
//! `{% raw %}`, leaves unknown escapes in strings alone, formats strings with
//! `%`, gives blocks that keep their text a scope, and lets macros see all
//! variables around them; transformers adds `{% generation %}`.

mod limits;
mod rewrite;
mod scope;
mod tokens;

use limits::Limits;
use minijinja::Error;
use rewrite::rewritten;
use scope::Names;
use tokens::Tag;

/// A part of a template.
enum Piece<'s> {
    /// Text, and comments, which stay as they are.
    Verbatim(&'s str),
    /// A statement or an expression.
    Tag(Tag<'s>),
}

/// The source that minijinja renders as Jinja2 renders `source`.
///
/// # Errors
/// If minijinja would not survive it.
pub(super) fn for_minijinja(source: &str) -> Result<String, Error> {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let pieces = pieces(&source);
    let mut limits = Limits::default();
    let scopes = scope::names_in_macros(&pieces);
    let mut out = String::with_capacity(source.len());
    for (place, piece) in pieces.iter().enumerate() {
        match piece {
            Piece::Verbatim(text) => out.push_str(text),
            Piece::Tag(tag) => {
                limits.check(tag)?;
                out.push_str(&rewritten(tag, scopes.get(&place).unwrap_or(&Names::new())));
            }
        }
    }
    Ok(out)
}

fn pieces(source: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = source;
    while let Some(start) = next_tag(rest) {
        pieces.push(Piece::Verbatim(&rest[..start]));
        rest = &rest[start..];
        let Some(length) = take_tag(rest, &mut pieces) else {
            // It never ends: minijinja reports that.
            break;
        };
        rest = &rest[length..];
    }
    pieces.push(Piece::Verbatim(rest));
    pieces
}

/// Where the next comment, statement or expression begins.
fn next_tag(text: &str) -> Option<usize> {
    let opens = |pair: &[u8]| pair[0] == b'{' && matches!(pair[1], b'{' | b'%' | b'#');
    text.as_bytes().windows(2).position(opens)
}

/// Takes the tag at the beginning of `text`; returns its length, or nothing
/// if it does not end.
fn take_tag<'s>(text: &'s str, pieces: &mut Vec<Piece<'s>>) -> Option<usize> {
    if let Some(comment) = text.strip_prefix("{#") {
        let length = 2 + comment.find("#}")? + 2;
        pieces.push(Piece::Verbatim(&text[..length]));
        return Some(length);
    }
    let tag = Tag::read(text)?;
    let mut length = tag.length;
    if tag.is("raw") {
        length += raw_end(&text[tag.length..])?;
        let (begin, body) = text[..length].split_at(tag.length);
        pieces.push(Piece::Verbatim(begin));
        if tag.close == "%}" && body.starts_with('\n') {
            // minijinja takes one away.
            pieces.push(Piece::Verbatim("\n"));
        }
        pieces.push(Piece::Verbatim(body));
    } else {
        pieces.push(Piece::Tag(tag));
    }
    Some(length)
}

/// Where the first `{% endraw %}` ends.
fn raw_end(text: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        let start = from + text[from..].find("{%")?;
        match Tag::read(&text[start..]) {
            Some(tag) if tag.is("endraw") => return Some(start + tag.length),
            _ => from = start + 2,
        }
    }
}

#[cfg(test)]
mod tests {
    fn for_minijinja(source: &str) -> String {
        super::for_minijinja(source).unwrap()
    }

    #[test]
    fn what_both_read_alike_stays_as_it_is() {
        for source in [
            "",
            "text { } {",
            "{# {% generation %} 5 % 3 #}",
            "{%- if m in messages -%} {{ m['a'] | trim }} {%+ endif +%}",
            "{{ '{% generation %}' ~ \"it's \\\" %} \" }}",
            "{% raw %}{% generation %}{{ 5 % 3 }}{% endraw %}",
            "{{ never ends",
            "{% never ends '%}",
            "{{ {'a': {'b': 1}} }}",
            "{% set generation = 1 %}",
        ] {
            assert_eq!(for_minijinja(source), source);
        }
    }

    #[test]
    fn generation_is_a_block_with_a_caller() {
        assert_eq!(
            for_minijinja(
                "{%- generation -%}a{% endgeneration +%}\n{%generation%}{{ m.n }}{%endgeneration%}"
            ),
            "{%- call __generation() -%}a{% endcall +%}\n\
             {%call(__scope=[m]) __generation()%}{{ m.n }}{%endcall%}"
        );
    }

    #[test]
    fn line_breaks_are_line_feeds() {
        assert_eq!(for_minijinja("a\r\nb\rc\n\r\n"), "a\nb\nc\n\n");
        assert_eq!(for_minijinja("{% raw %}\nb"), "{% raw %}\nb");
        assert_eq!(
            for_minijinja("{% raw %}\nb{% endraw %}{% raw -%}\n{% endraw %}"),
            "{% raw %}\n\nb{% endraw %}{% raw -%}\n{% endraw %}"
        );
    }

    #[test]
    fn percent_takes_what_binds_closer() {
        for (expression, rewritten) in [
            ("a % b", "__remainder(a , b)"),
            ("a * b % c * d", "__remainder(a * b , c) * d"),
            ("a + b % c - d", "a + __remainder(b , c) - d"),
            ("a % b % c", "__remainder(__remainder(a , b) , c)"),
            ("'%s' % x | upper ~ y", "__remainder('%s' , x | upper) ~ y"),
            (
                "f(a % b)[c % d].e % g",
                "__remainder(f(__remainder(a , b))[__remainder(c , d)].e , g)",
            ),
            ("-a % -b ** 2", "__remainder(-a , -b ** 2)"),
            ("a - b % c", "a - __remainder(b , c)"),
            ("'a' '%s' % (x, y)", "__remainder('a' '%s' , (x, y))"),
            (
                "a % 2 == 0 and not b % 2",
                "__remainder(a , 2) == 0 and not __remainder(b , 2)",
            ),
            (
                "x if a % 2 else b % 3",
                "x if __remainder(a , 2) else __remainder(b , 3)",
            ),
            (
                "{'a': b % 2, 'c': [d % 3]}",
                "{'a': __remainder(b , 2), 'c': [__remainder(d , 3)]}",
            ),
            ("a % b is odd", "__remainder(a , b is odd)"),
            (
                "a is divisibleby b % c",
                "__remainder(a is divisibleby b , c)",
            ),
        ] {
            assert_eq!(
                for_minijinja(&format!("{{{{ {expression} }}}}")),
                format!("{{{{ {rewritten} }}}}")
            );
        }
        assert_eq!(
            for_minijinja("{% if a % b %}{% elif c%d%}"),
            "{% if __remainder(a , b) %}{% elif __remainder(c,d)%}"
        );
    }

    #[test]
    fn escapes_are_pythons() {
        assert_eq!(
            for_minijinja(r"{{ '\/ \a \v \n \' \d \U0001F600 \x41' }}"),
            "{{ '\\\\/ \\x07 \\x0b \\n \\' \\d \u{1F600} \\x41' }}"
        );
    }

    #[test]
    fn macros_mention_what_they_see() {
        for (source, rewritten) in [
            (
                "{% macro f() %}{% set ns.a = b[1:] %}{% endmacro %}{{ c }}",
                "{% macro f(__scope=[b, ns]) %}{% set ns.a = b[1:] %}{% endmacro %}{{ c }}",
            ),
            (
                "{% macro f(x, y=1) %}{{ x | z }}{% endmacro %}",
                "{% macro f(x, y=1, __scope=[x, z]) %}{{ x | z }}{% endmacro %}",
            ),
            (
                "{% call g(h) %}{{ i.j }}{% endcall %}",
                "{% call(__scope=[i]) g(h) %}{{ i.j }}{% endcall %}",
            ),
            (
                "{%- call(k, ) g() %}{{ k }}{% endcall %}",
                "{%- call(k, __scope=[k]) g() %}{{ k }}{% endcall %}",
            ),
        ] {
            assert_eq!(for_minijinja(source), rewritten);
        }
    }

    #[test]
    fn text_that_is_kept_has_a_scope_of_its_own() {
        assert_eq!(
            for_minijinja("{%- set x | f(a=1) -%} a {%- endset +%}{% filter f %}{% endfilter %}"),
            "{%- set x | f(a=1) %}{% with -%} a {%- endwith %}{% endset +%}\
             {% filter f %}{% with %}{% endwith %}{% endfilter %}"
        );
    }

    #[test]
    fn loops_take_strings_as_lists() {
        assert_eq!(
            for_minijinja("{% for a, b in c.d[1] if a %}{%- for x in (y if z) recursive -%}"),
            "{% for a, b in (c.d[1])|__each if a %}{%- for x in ((y if z))|__each recursive -%}"
        );
    }

    #[test]
    fn loops_are_left_from_conditions_only() {
        for_minijinja("{% for a in b %}{% if a %}{% break %}{% endif %}{% endfor %}");
        for block in ["with", "set x", "filter upper", "autoescape false"] {
            let source = format!("{{% for a in b %}}{{% {block} %}}{{% if a %}}{{% continue %}}");
            let error = super::for_minijinja(&source).unwrap_err().to_string();
            assert!(error.contains("{% continue %} inside of"), "{error}");
        }
    }

    #[test]
    fn what_minijinja_does_not_survive_is_refused() {
        for source in ["{{ loop.cycle() }}", "{% if loop . cycle(*[]) %}"] {
            let error = super::for_minijinja(source).unwrap_err().to_string();
            assert!(error.contains("cycle"), "{error}");
        }
        let long = format!("{{{{ 1{} }}}}", " + 1".repeat(10_000));
        let error = super::for_minijinja(&long).unwrap_err().to_string();
        assert!(error.contains("too long"), "{error}");
    }

    #[test]
    fn hostile_nesting_comes_back_whole() {
        let deep = format!("{{{{ {}1 % 2", "(".repeat(100_000));
        assert_eq!(for_minijinja(&deep), deep);
        let (open, close) = ("[".repeat(2_000), "]".repeat(2_000));
        let closed = format!("{{{{ {open}1 % 2{close} }}}}");
        assert_eq!(for_minijinja(&closed), closed);
        let signs = format!("{{{{ {}1 % 2 }}}}", "-".repeat(2_000));
        assert!(for_minijinja(&signs).contains("1 , 2)"));
    }
}
