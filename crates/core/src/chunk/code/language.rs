//! What has to be known of a language to see where its items begin: comments, strings, keywords.

use serde::{Deserialize, Serialize};

macro_rules! languages {
    ($($variant:ident $name:literal,)*) => {
        /// A language that source code is written in. In JSON its name, as Markdown's fences have it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[allow(missing_docs)]
        pub enum Language {
            $(#[serde(rename = $name)] $variant,)*
        }

        impl Language {
            /// All there are.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name, in lower case.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

languages! {
    Rust "rust", Python "python", JavaScript "javascript", Jsx "jsx", TypeScript "typescript", Tsx "tsx", Go "go",
    Java "java", Kotlin "kotlin", C "c", Cpp "cpp", CSharp "csharp", Ruby "ruby", Php "php", Swift "swift",
    Scala "scala", Bash "bash", Sql "sql", Lua "lua", Perl "perl", R "r", Dart "dart", Elixir "elixir",
    Erlang "erlang", Haskell "haskell", OCaml "ocaml", Clojure "clojure", Zig "zig", Toml "toml", Yaml "yaml",
    Css "css", Vue "vue", Svelte "svelte",
}

impl Language {
    /// The language of that [name](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|language| language.name() == name)
    }
}

/// What an item holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    /// Items of its own.
    Container,
    /// Statements.
    Function,
    /// Neither: a constant, a type without members.
    Value,
}

/// How a language shows what belongs to what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// By braces; statements end with semicolons.
    Semicolons,
    /// By braces; statements end with lines.
    Braces,
    /// By indentation, be it required or but usual.
    Indentation,
}

/// A string: what opens it, what closes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quote {
    pub(super) open: &'static str,
    pub(super) close: &'static str,
    /// A backslash keeps the next character from closing it.
    pub(super) escapes: bool,
    /// It may have line ends in it.
    pub(super) lines: bool,
}

/// What else there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quirk {
    /// `r#"…"#`, and `'a` as a lifetime.
    RustStrings,
    /// `R"x(…)x"` and `1'000`.
    CppStrings,
    /// `` `…${…}…` `` and `/…/`.
    Templates,
    /// `<<END`.
    Heredoc,
    /// `#if … #else … #endif`.
    Preprocessor,
    /// Functions in a class, or anywhere, that no keyword introduces.
    Unnamed,
    /// Brackets need not come in pairs.
    LooseBrackets,
    /// A comment's mark counts only after a blank.
    SpacedComments,
}

/// What is known of a language.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spec {
    pub(super) line: &'static [&'static str],
    pub(super) block: &'static [(&'static str, &'static str)],
    /// Comments can be in comments.
    pub(super) nested: bool,
    /// Longer ones first.
    pub(super) quotes: &'static [Quote],
    pub(super) layout: Layout,
    /// What introduces an item.
    pub(super) items: &'static [(&'static str, Kind)],
    /// What a line begins with that goes with the one before.
    pub(super) goes_on: &'static [&'static str],
    pub(super) quirks: &'static [Quirk],
}

impl Spec {
    pub(super) fn has(&self, quirk: Quirk) -> bool {
        self.quirks.contains(&quirk)
    }
}

const fn quote(open: &'static str, close: &'static str, escapes: bool, lines: bool) -> Quote {
    Quote { open, close, escapes, lines }
}

const DOUBLE: Quote = quote("\"", "\"", true, false);
const SINGLE: Quote = quote("'", "'", true, false);
const LONG_DOUBLE: Quote = quote("\"", "\"", true, true);
const LONG_SINGLE: Quote = quote("'", "'", true, true);
const TRIPLE_DOUBLE: Quote = quote("\"\"\"", "\"\"\"", true, true);
const TRIPLE_SINGLE: Quote = quote("'''", "'''", true, true);
const BACKTICKS: Quote = quote("`", "`", false, true);
const RAW_TRIPLE: Quote = quote("\"\"\"", "\"\"\"", false, true);
const VERBATIM: Quote = quote("@\"", "\"", false, true);
const RAW_DOUBLE: Quote = quote("\"", "\"", false, false);
const BRACKETS: Quote = quote("[[", "]]", false, true);
const LONG_BRACKETS: Quote = quote("[=[", "]=]", false, true);
const RAW_SINGLE: Quote = quote("'", "'", false, false);
/// Doubled to stand for itself: that is two strings.
const DOUBLED: Quote = quote("'", "'", false, true);

const C_COMMENTS: &[(&str, &str)] = &[("/*", "*/")];
const ELSE: &[&str] = &["else", "catch", "finally", "while"];

use Kind::{Container, Function, Value};

const C_LIKE: Spec = Spec {
    line: &["//"],
    block: C_COMMENTS,
    nested: false,
    quotes: &[DOUBLE, SINGLE],
    layout: Layout::Semicolons,
    items: &[],
    goes_on: ELSE,
    quirks: &[Quirk::Unnamed],
};

const SCRIPT: Spec = Spec {
    line: &["#"],
    block: &[],
    nested: false,
    quotes: &[LONG_DOUBLE, LONG_SINGLE],
    layout: Layout::Indentation,
    items: &[],
    goes_on: &[],
    quirks: &[Quirk::SpacedComments],
};

const JS_ITEMS: &[(&str, Kind)] = &[
    ("function", Function),
    ("function*", Function),
    ("class", Container),
    ("const", Value),
    ("let", Value),
    ("var", Value),
];
const JS: Spec =
    Spec { layout: Layout::Braces, items: JS_ITEMS, quirks: &[Quirk::Unnamed, Quirk::Templates], ..C_LIKE };
const TS: Spec = Spec {
    items: &[
        ("function", Function),
        ("function*", Function),
        ("class", Container),
        ("interface", Container),
        ("enum", Container),
        ("namespace", Container),
        ("module", Container),
        ("type", Value),
        ("const", Value),
        ("let", Value),
        ("var", Value),
    ],
    ..JS
};
const MARKUP: Spec = Spec {
    line: &[],
    block: &[("<!--", "-->")],
    quotes: &[],
    goes_on: &["</"],
    quirks: &[Quirk::LooseBrackets],
    ..SCRIPT
};

impl Language {
    pub(super) const fn spec(self) -> &'static Spec {
        match self {
            Self::Rust => &Spec {
                nested: true,
                quotes: &[LONG_DOUBLE],
                items: &[
                    ("fn", Function),
                    ("struct", Container),
                    ("enum", Container),
                    ("union", Container),
                    ("trait", Container),
                    ("impl", Container),
                    ("mod", Container),
                    ("macro_rules!", Function),
                    ("extern", Container),
                    ("const", Value),
                    ("static", Value),
                    ("type", Value),
                ],
                goes_on: &["else", "where"],
                quirks: &[Quirk::RustStrings],
                ..C_LIKE
            },
            Self::Python => &Spec {
                quotes: &[TRIPLE_DOUBLE, TRIPLE_SINGLE, DOUBLE, SINGLE],
                items: &[("def", Function), ("class", Container)],
                goes_on: &["else", "elif", "except", "finally"],
                quirks: &[],
                ..SCRIPT
            },
            Self::JavaScript | Self::Jsx => &JS,
            Self::TypeScript | Self::Tsx => &TS,
            Self::Go => &Spec {
                quotes: &[BACKTICKS, DOUBLE, SINGLE],
                layout: Layout::Braces,
                items: &[("func", Function), ("type", Container)],
                quirks: &[],
                ..C_LIKE
            },
            Self::Java => &Spec {
                quotes: &[TRIPLE_DOUBLE, DOUBLE, SINGLE],
                items: &[
                    ("class", Container),
                    ("interface", Container),
                    ("@interface", Container),
                    ("enum", Container),
                    ("record", Container),
                ],
                ..C_LIKE
            },
            Self::Kotlin => &Spec {
                nested: true,
                quotes: &[TRIPLE_DOUBLE, DOUBLE, SINGLE],
                layout: Layout::Braces,
                items: &[
                    ("fun", Function),
                    ("class", Container),
                    ("interface", Container),
                    ("object", Container),
                    ("typealias", Value),
                ],
                quirks: &[],
                ..C_LIKE
            },
            Self::C => &Spec {
                items: &[("struct", Container), ("enum", Container), ("union", Container)],
                quirks: &[Quirk::Unnamed, Quirk::Preprocessor],
                ..C_LIKE
            },
            Self::Cpp => &Spec {
                items: &[
                    ("class", Container),
                    ("struct", Container),
                    ("enum", Container),
                    ("union", Container),
                    ("namespace", Container),
                    ("concept", Value),
                ],
                quirks: &[Quirk::Unnamed, Quirk::Preprocessor, Quirk::CppStrings],
                ..C_LIKE
            },
            Self::CSharp => &Spec {
                quotes: &[RAW_TRIPLE, VERBATIM, DOUBLE, SINGLE],
                items: &[
                    ("namespace", Container),
                    ("class", Container),
                    ("struct", Container),
                    ("interface", Container),
                    ("record", Container),
                    ("enum", Container),
                ],
                quirks: &[Quirk::Unnamed, Quirk::Preprocessor],
                ..C_LIKE
            },
            Self::Ruby => &Spec {
                block: &[("=begin", "=end")],
                items: &[("def", Function), ("class", Container), ("module", Container)],
                goes_on: &["end", "else", "elsif", "when", "rescue", "ensure"],
                quirks: &[Quirk::Heredoc, Quirk::SpacedComments],
                ..SCRIPT
            },
            Self::Php => &Spec {
                line: &["//", "# "],
                quotes: &[LONG_DOUBLE, LONG_SINGLE],
                items: &[
                    ("function", Function),
                    ("class", Container),
                    ("interface", Container),
                    ("trait", Container),
                    ("enum", Container),
                    ("namespace", Value),
                ],
                quirks: &[Quirk::Heredoc],
                ..C_LIKE
            },
            Self::Swift => &Spec {
                nested: true,
                quotes: &[TRIPLE_DOUBLE, DOUBLE],
                layout: Layout::Braces,
                items: &[
                    ("func", Function),
                    ("class", Container),
                    ("struct", Container),
                    ("enum", Container),
                    ("protocol", Container),
                    ("extension", Container),
                    ("actor", Container),
                    ("typealias", Value),
                ],
                quirks: &[],
                ..C_LIKE
            },
            Self::Scala => &Spec {
                nested: true,
                quotes: &[TRIPLE_DOUBLE, DOUBLE],
                layout: Layout::Braces,
                items: &[
                    ("def", Function),
                    ("class", Container),
                    ("object", Container),
                    ("trait", Container),
                    ("enum", Container),
                ],
                quirks: &[],
                ..C_LIKE
            },
            Self::Bash => &Spec {
                items: &[("function", Function)],
                goes_on: &["fi", "done", "esac", "else", "elif", "then", "do", ";;"],
                quirks: &[Quirk::Heredoc, Quirk::SpacedComments, Quirk::LooseBrackets],
                ..SCRIPT
            },
            Self::Sql => &Spec {
                line: &["--"],
                block: C_COMMENTS,
                quotes: &[DOUBLED, RAW_DOUBLE],
                items: &[("create", Value)],
                goes_on: SQL_CLAUSES,
                quirks: &[],
                ..SCRIPT
            },
            Self::Lua => &Spec {
                line: &["--"],
                block: &[("--[[", "]]"), ("--[=[", "]=]")],
                quotes: &[BRACKETS, LONG_BRACKETS, DOUBLE, SINGLE],
                items: &[("function", Function)],
                goes_on: &["end", "else", "elseif", "until"],
                quirks: &[],
                ..SCRIPT
            },
            Self::Perl => &Spec {
                line: &["#"],
                block: &[("\n=pod", "\n=cut"), ("\n=head", "\n=cut")],
                quotes: &[LONG_DOUBLE, LONG_SINGLE],
                items: &[("sub", Function), ("package", Value)],
                goes_on: &["else", "elsif", "continue"],
                quirks: &[Quirk::Heredoc, Quirk::SpacedComments],
                ..C_LIKE
            },
            Self::R => &Spec {
                line: &["#"],
                block: &[],
                quotes: &[LONG_DOUBLE, LONG_SINGLE],
                layout: Layout::Braces,
                quirks: &[],
                ..C_LIKE
            },
            Self::Dart => &Spec {
                nested: true,
                quotes: &[TRIPLE_DOUBLE, TRIPLE_SINGLE, DOUBLE, SINGLE],
                items: &[
                    ("class", Container),
                    ("mixin", Container),
                    ("extension", Container),
                    ("enum", Container),
                    ("typedef", Value),
                ],
                ..C_LIKE
            },
            Self::Elixir => &Spec {
                quotes: &[TRIPLE_DOUBLE, LONG_DOUBLE, LONG_SINGLE],
                items: &[
                    ("defmodule", Container),
                    ("defprotocol", Container),
                    ("defimpl", Container),
                    ("def", Function),
                    ("defp", Function),
                    ("defmacro", Function),
                    ("defmacrop", Function),
                ],
                goes_on: &["end", "else", "rescue", "catch", "after"],
                ..SCRIPT
            },
            Self::Erlang => &Spec { line: &["%"], quotes: &[LONG_DOUBLE, SINGLE], quirks: &[], ..SCRIPT },
            Self::Haskell => &Spec {
                line: &["--"],
                block: &[("{-", "-}")],
                nested: true,
                quotes: &[DOUBLE],
                items: &[
                    ("module", Value),
                    ("data", Container),
                    ("newtype", Container),
                    ("type", Value),
                    ("class", Container),
                    ("instance", Container),
                ],
                goes_on: &["where", "deriving"],
                quirks: &[],
                ..SCRIPT
            },
            Self::OCaml => &Spec {
                line: &[],
                block: &[("(*", "*)")],
                nested: true,
                quotes: &[LONG_DOUBLE],
                items: &[
                    ("let", Function),
                    ("and", Function),
                    ("module", Container),
                    ("type", Value),
                    ("class", Container),
                    ("exception", Value),
                    ("val", Value),
                ],
                goes_on: &["end", "in", "with", "|"],
                quirks: &[],
                ..SCRIPT
            },
            Self::Clojure => {
                &Spec { line: &[";"], quotes: &[LONG_DOUBLE], items: LISP_ITEMS, quirks: &[], ..SCRIPT }
            }
            Self::Zig => &Spec {
                block: &[],
                items: &[("fn", Function), ("test", Function), ("const", Value), ("var", Value)],
                quirks: &[],
                ..C_LIKE
            },
            Self::Toml => {
                &Spec { quotes: &[TRIPLE_DOUBLE, TRIPLE_SINGLE, DOUBLE, RAW_SINGLE], quirks: &[], ..SCRIPT }
            }
            Self::Yaml => {
                &Spec { quotes: &[], quirks: &[Quirk::LooseBrackets, Quirk::SpacedComments], ..SCRIPT }
            }
            Self::Css => &Spec { line: &[], quirks: &[], goes_on: &[], ..C_LIKE },
            Self::Vue | Self::Svelte => &MARKUP,
        }
    }
}

const LISP_ITEMS: &[(&str, Kind)] = &[
    ("(ns", Value),
    ("(def", Value),
    ("(defn", Function),
    ("(defn-", Function),
    ("(defmacro", Function),
    ("(defmulti", Function),
    ("(defmethod", Function),
    ("(defprotocol", Container),
    ("(defrecord", Container),
    ("(deftype", Container),
    ("(deftest", Function),
];

const SQL_CLAUSES: &[&str] = &[
    "begin",
    "end",
    "end;",
    "as",
    "returns",
    "language",
    "declare",
    "$$",
    "from",
    "where",
    "group",
    "order",
    "having",
    "limit",
    "join",
    "left",
    "right",
    "inner",
    "outer",
    "full",
    "cross",
    "on",
    "values",
    "set",
    "and",
    "or",
    "union",
    "except",
    "returning",
    "window",
];

/// What may come before the keyword of an item.
pub(super) const MODIFIERS: &[&str] = &[
    "abstract",
    "actual",
    "annotation",
    "async",
    "case",
    "companion",
    "constexpr",
    "convenience",
    "crate",
    "data",
    "declare",
    "default",
    "expect",
    "explicit",
    "export",
    "extern",
    "external",
    "factory",
    "fileprivate",
    "final",
    "friend",
    "implicit",
    "indirect",
    "infix",
    "inline",
    "inner",
    "internal",
    "lazy",
    "local",
    "mutating",
    "native",
    "new",
    "noinline",
    "open",
    "operator",
    "override",
    "partial",
    "private",
    "protected",
    "pub",
    "public",
    "readonly",
    "rec",
    "required",
    "sealed",
    "static",
    "strictfp",
    "suspend",
    "synchronized",
    "tailrec",
    "typedef",
    "unsafe",
    "value",
    "virtual",
    "volatile",
];
