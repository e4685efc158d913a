//! Where source code is cut, and what its chunks are called, by example.

// The sources are written alike, with hashes whether they need them or not.
#![allow(clippy::unwrap_used, clippy::needless_raw_string_hashes, clippy::format_push_string)]

use ragflare_core::chunk::{ChunkSettings, Chunker, Format, Language};

/// The first line of each chunk, and the items it is in.
fn cut(language: &str, target: usize, text: &str) -> Vec<(String, String)> {
    let settings = ChunkSettings { code_target: target, ..ChunkSettings::default() };
    let format = Format::Code(Language::from_name(language).unwrap());
    let chunks = Chunker::new(settings).unwrap().chunks(text, format);
    let first = |start: usize| text[start..].trim_start().lines().next().unwrap_or_default().to_owned();
    chunks.into_iter().map(|chunk| (first(chunk.start), chunk.headings.join(" > "))).collect()
}

/// Checks how a text is cut: where chunks begin, and in which items.
fn check(language: &str, target: usize, text: &str, expected: &[(&str, &str)]) {
    let chunks = cut(language, target, text);
    let found: Vec<(&str, &str)> =
        chunks.iter().map(|(line, headings)| (line.as_str(), headings.as_str())).collect();
    assert_eq!(found, expected, "{language}");
}

/// As many statements.
fn lines(count: usize, line: &str) -> String {
    (0..count).map(|n| line.replace('N', &n.to_string()) + "\n").collect()
}

#[test]
fn rust_is_cut_between_items_with_their_comments_and_attributes() {
    let text = r##"//! A parser.

use std::fmt;
use std::io::{self, Read};

/// What is parsed. Not a brace: {
#[derive(Debug, Clone)]
pub struct Parser<'a> {
    text: &'a str,
    quotes: [char; 2],
}

impl<'a> Parser<'a> {
    /// Makes one.
    pub fn new(text: &'a str) -> Self {
        let open = '{';
        let raw = r#"a " quote { and a brace"#;
        Self { text, quotes: ['"', '\''] }
    }

    /* A comment /* in a comment { */ */
    #[inline]
    fn next(&mut self) -> Option<char> {
        let first = self.text.chars().next()?;
        self.text = &self.text[first.len_utf8()..];
        Some(first)
    }
}

impl fmt::Display for Parser<'_>
where
    Self: Sized,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{}}}", self.text)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_reads() {
        assert_eq!(super::Parser::new("a").next(), Some('a'));
    }
}
"##;
    check(
        "rust",
        80,
        text,
        &[
            ("//! A parser.", ""),
            ("/// What is parsed. Not a brace: {", "struct Parser"),
            ("impl<'a> Parser<'a> {", "impl Parser<'a>"),
            ("/* A comment /* in a comment { */ */", "impl Parser<'a> > fn next"),
            ("impl fmt::Display for Parser<'_>", "impl fmt::Display for Parser<'_>"),
            ("#[cfg(test)]", "mod tests"),
        ],
    );
}

#[test]
fn a_function_that_is_too_long_is_cut_between_its_statements_under_its_name() {
    let body: String = (0..12)
        .map(|n| format!("    if first({n}) {{\n        second({n});\n        third({n});\n    }}\n\n"))
        .collect();
    let text = format!("fn before() {{}}\n\n/// Does it.\nfn long() {{\n{body}}}\n\nfn after() {{}}\n");
    let chunks = cut("rust", 60, &text);
    assert!(chunks.len() > 3, "{chunks:?}");
    for (line, headings) in &chunks[1..chunks.len() - 1] {
        assert!(line.starts_with("if first("), "{chunks:?}");
        assert_eq!(headings, "fn long");
    }
}

#[test]
fn python_is_cut_between_functions_with_their_decorators() {
    let text = format!(
        r#"import os
from typing import Any

CONSTANT = "not a # comment"


class Foo(Base):
    """Says what it is.

    def not_one(self):
        pass
    """

    @property
    @cached(
        size=3,
    )
    def bar(self) -> int:
        if self.a:
            return 1
        else:
            return 2

    # About baz.
    async def baz(
        self,
        a: int,
    ) -> None:
{}

def top(a, b):
    return a + b


if __name__ == "__main__":
    top(1, 2)
"#,
        lines(6, "        await self.call(N)")
    );
    check(
        "python",
        50,
        &text,
        &[
            ("import os", ""),
            ("class Foo(Base):", "class Foo"),
            ("@property", "class Foo > def bar"),
            ("# About baz.", "class Foo > def baz"),
            ("await self.call(1)", "class Foo > def baz"),
            ("def top(a, b):", "def top"),
        ],
    );
}

#[test]
fn typescript_is_cut_between_members() {
    let text = r#"import { a } from "./a";

export interface Shape {
  area(): number;
  name: string;
}

/** A circle. */
export class Circle implements Shape {
  constructor(private radius: number) {}

  area(): number {
    const text = `a ${this.name({ a: "}" })} brace {`;
    return Math.PI * this.radius ** 2;
  }

  private async name<T>(value: T): Promise<string> {
    const found = /["'{]/.test(String(value));
    return found ? "it's" : "don't";
  }
}

export const make = async (radius: number): Promise<Circle> => {
  return new Circle(radius);
};

export default function main() {
  make(3).then((circle) => {
    console.log(circle.area());
  });
}
"#;
    check(
        "typescript",
        60,
        text,
        &[
            ("import { a } from \"./a\";", ""),
            ("/** A circle. */", "class Circle"),
            ("area(): number {", "class Circle > area()"),
            ("private async name<T>(value: T): Promise<string> {", "class Circle > name()"),
            ("export const make = async (radius: number): Promise<Circle> => {", "const make"),
            ("export default function main() {", "function main"),
        ],
    );
}

#[test]
fn go_java_and_cpp_are_cut_between_functions() {
    let go = r#"package main

import "fmt"

// Server serves.
type Server struct {
	Name string
	raw  string
}

// Run runs it.
func (s *Server) Run(ctx context.Context) error {
	for i := 0; i < 3; i++ {
		fmt.Println(`a { raw " string`, '{')
	}
	return nil
}

func main() {
	s := &Server{Name: "a"}
	s.Run(context.Background())
}
"#;
    check(
        "go",
        64,
        go,
        &[("package main", ""), ("// Run runs it.", "func (s *Server) Run"), ("func main() {", "func main")],
    );
    let java = r#"package a.b;

import java.util.List;

/**
 * Says {@code what} it is.
 */
@Deprecated
public final class Foo<T extends Bar> implements Baz {
    private static final int SIZE = 3;

    @Override
    @SuppressWarnings({"unchecked", "raw"})
    public List<T> items(int first, Map<String, T> rest) throws IOException {
        return list.stream().map(x -> {
            return x;
        }).collect(toList());
    }

    /** Another. */
    enum Kind { A, B }

    Foo(T value) {
        if (value == null) {
            throw new IllegalArgumentException("}");
        }
    }
}
"#;
    check(
        "java",
        75,
        java,
        &[
            ("package a.b;", ""),
            ("@Override", "class Foo > items()"),
            ("/** Another. */", "class Foo > enum Kind"),
        ],
    );
    let cpp = r##"#pragma once
#include <vector>

namespace outer {
namespace {

// A list.
template <typename T, class A = std::allocator<T>>
class EXPORT List final : public Base<T> {
public:
    List() : size_(1'000) {}
    ~List() override;

    bool operator()(int a) const {
        return a > 0;
    }

private:
    const char* raw_ = R"x(a " { brace)x";
};

}  // namespace

#ifdef FAST
static int
run(int a,
    int b) {
#else
static int run(int a, int b, int c) {
#endif
    switch (a) {
    case 1:
        return b;
    default:
        return 0;
    }
}

template <>
void List<int>::clear() {
    size_ = 0;
}

TEST(Suite, Case) {
    EXPECT_EQ(run(1, 2), 2);
}

}  // namespace outer
"##;
    check(
        "cpp",
        80,
        cpp,
        &[
            ("#pragma once", ""),
            ("List() : size_(1'000) {}", "namespace outer > namespace > class List > List()"),
            ("#ifdef FAST", "namespace outer > run()"),
            ("template <>", "namespace outer > List<int>::clear()"),
        ],
    );
}

#[test]
fn scripts_are_cut_between_functions() {
    let ruby = r##"require "json"

module Shop
  # A cart.
  class Cart < Base
    attr_reader :items

    def add(item)
      @items << item unless item.nil?
      puts "added #{item} { do"
    end

    def self.empty?
      text = <<~TEXT
        def not_one
      TEXT
      items.each do |item|
        puts item
      end
    end
  end
end
"##;
    check(
        "ruby",
        40,
        ruby,
        &[
            ("require \"json\"", ""),
            ("def add(item)", "module Shop > class Cart > def add"),
            ("def self.empty?", "module Shop > class Cart > def self.empty?"),
        ],
    );
    let bash = r#"#!/bin/bash
set -eu

# Builds it.
build() {
  local name="$1"
  case "$name" in
    a) echo "an unbalanced {" ;;
    *) echo other ;;
  esac
}

function clean {
  for file in *.o; do
    rm -f "$file"
  done
  cat <<EOF
build() {
EOF
}

build "$@"
clean
"#;
    check(
        "bash",
        50,
        bash,
        &[("#!/bin/bash", ""), ("# Builds it.", "build()"), ("function clean {", "function clean")],
    );
}

#[test]
fn sql_is_cut_between_statements_and_yaml_between_keys() {
    let sql = r"-- Users.
CREATE TABLE IF NOT EXISTS users (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL DEFAULT 'it''s; not the end'
);

CREATE UNIQUE INDEX users_name ON users (name);

CREATE OR REPLACE FUNCTION touch(a INTEGER)
RETURNS TRIGGER
AS $$
BEGIN
    UPDATE users SET name = '' WHERE id = a;
    RETURN NEW;
END;
$$ LANGUAGE plpgsql;

SELECT name
FROM users
WHERE id = 1;
";
    check(
        "sql",
        60,
        sql,
        &[
            ("-- Users.", "CREATE TABLE users"),
            ("CREATE OR REPLACE FUNCTION touch(a INTEGER)", "CREATE FUNCTION touch"),
        ],
    );
    let services: String = (0..3)
        .map(|n| {
            format!(
                "  web{n}:\n    image: \"nginx: {n}\"\n    ports:\n    - \"80:80\"\n    - \"443:443\"\n    \
                 command: |\n      run:\n        it\n"
            )
        })
        .collect();
    let yaml = format!("version: 3\n\nservices:\n{services}\nvolumes:\n  data:\n");
    check(
        "yaml",
        64,
        &yaml,
        &[("version: 3", ""), ("web1:", "services > web1"), ("web2:", "services > web2")],
    );
}

#[test]
fn other_languages_tell_their_items() {
    let items = [
        (
            "kotlin",
            "data class User(val name: String)\n\nclass Repo {\n    fun find(id: Int): User? {\n        return null\n    }\n}\n",
            "class User|class Repo|fun find",
        ),
        (
            "csharp",
            "namespace A.B\n{\n    [Test]\n    public class C\n    {\n        public async Task<int> Run(int a)\n        {\n            return a;\n        }\n    }\n}\n",
            "namespace A.B|class C|Run()",
        ),
        (
            "php",
            "<?php\nnamespace A;\n\nfinal class B {\n    public function run(int $a): int {\n        return $a;\n    }\n}\n",
            "class B|function run",
        ),
        (
            "swift",
            "extension Foo: Bar {\n    @objc private func run<T>(a: T) {\n        print(\"{\")\n    }\n}\n",
            "extension Foo|func run",
        ),
        (
            "scala",
            "object Main extends App {\n  def run(a: Int): Int = {\n    a\n  }\n}\n",
            "object Main|def run",
        ),
        (
            "lua",
            "local function run(a)\n  return a\nend\n\nM.stop = function(a)\n  return a\nend\n",
            "function run|M.stop",
        ),
        ("perl", "sub run {\n    my ($a) = @_;\n    return $a;\n}\n", "sub run"),
        ("r", "run <- function(a, b = 2) {\n  a + b\n}\n", "run"),
        (
            "dart",
            "class A extends B {\n  @override\n  Widget build(BuildContext context) {\n    return C();\n  }\n}\n",
            "class A|build()",
        ),
        (
            "elixir",
            "defmodule A.B do\n  @doc \"\"\"\n  Runs.\n  \"\"\"\n  def run(a) do\n    a\n  end\nend\n",
            "defmodule A.B|def run",
        ),
        ("erlang", "run(1) ->\n    one;\nrun(N) ->\n    N.\n", "run"),
        (
            "haskell",
            "data Tree a = Leaf\n  | Node a\n\nrun :: Int -> Int\nrun a =\n  a + 1\n",
            "data Tree|run",
        ),
        ("ocaml", "let rec run a =\n  a + 1\n", "let run"),
        ("clojure", "(ns a.b)\n\n(defn run!\n  \"Runs (it.\"\n  [a]\n  (inc a))\n", "ns a.b|defn run!"),
        (
            "zig",
            "const A = struct {\n    pub fn run(a: u8) u8 {\n        return a;\n    }\n};\n",
            "const A|fn run",
        ),
        ("toml", "a = 1\n\n[package]\nname = \"[x]\"\n\n[[bin]]\npath = 'a'\n", "package|bin"),
        (
            "css",
            "a:hover {\n  color: red;\n}\n@media (min-width: 3px) {\n  .b {\n    color: blue;\n  }\n}\n",
            "a:hover|@media (min-width: 3px)|.b",
        ),
        (
            "vue",
            "<template>\n  <p>it's {</p>\n</template>\n\n<script>\nexport default {};\n</script>\n",
            "<template>|<script>",
        ),
        (
            "c",
            "static struct foo *make(int a)\n{\n    return 0;\n}\n\nstruct bar {\n    int a;\n};\n",
            "make()|struct bar",
        ),
        (
            "javascript",
            "module.exports = {};\n\nFoo.prototype.run = function (a) {\n  return a;\n};\n\nclass A {\n  static async *b() {\n  }\n}\n",
            "Foo.prototype.run|class A|b()",
        ),
    ];
    for (language, text, expected) in items {
        // Blown up by comments, so that each item begins a chunk.
        let mark = match language {
            "lua" | "haskell" => "-- ",
            "clojure" => "; ",
            "erlang" => "% ",
            "python" | "r" | "perl" | "elixir" | "toml" => "# ",
            "ocaml" => "(* ",
            "css" => "/* ",
            "vue" => "<!-- ",
            _ => "// ",
        };
        let end = match language {
            "ocaml" => " *)",
            "css" => " */",
            "vue" => " -->",
            _ => "",
        };
        let mut long = String::new();
        for line in text.lines() {
            let indentation = &line[..line.len() - line.trim_start().len()];
            long.push_str(line);
            long.push('\n');
            if line.ends_with(['{', ':', '>', '=', ')']) || line.ends_with("do") || line.starts_with('[') {
                for _ in 0..6 {
                    long.push_str(&format!("{indentation}  {mark}some words about it{end}\n"));
                }
            }
        }
        let named = |text: &str, target| -> Vec<String> {
            cut(language, target, text)
                .into_iter()
                .flat_map(|(_, headings)| headings.split(" > ").map(str::to_owned).collect::<Vec<_>>())
                .collect()
        };
        let found = named(&long, 32);
        for symbol in expected.split('|') {
            assert!(
                found.iter().any(|found| found == symbol),
                "{language}: no {symbol} in {found:?}\n{long}"
            );
        }
    }
}

#[test]
fn what_was_misread_does_not_change_what_comes_long_after_it() {
    // A brace too many, and one that nobody closes.
    let text = format!(
        "fn broken() {{\n    {{\n{}}}\n\nfn whole() {{\n{}}}\n\n}}\n\nfn last() {{\n{}}}\n",
        lines(6, "    first(N);"),
        lines(6, "    second(N);"),
        lines(6, "    third(N);")
    );
    check(
        "rust",
        60,
        &text,
        &[("fn broken() {", "fn broken"), ("fn whole() {", "fn whole"), ("fn last() {", "fn last")],
    );
}

#[test]
fn code_without_line_ends_is_cut_between_statements() {
    let text: String = (0..40).map(|n| format!("function f{n}(a){{var b=a+{n};return b}}")).collect();
    let chunks = cut("javascript", 64, &text);
    assert!(chunks.len() > 5, "{chunks:?}");
    assert!(chunks.iter().all(|(line, _)| line.starts_with("function f")), "{chunks:?}");
}

#[test]
fn line_ends_of_any_kind_are_line_ends() {
    let text = format!(
        "// First.\nfn first() {{\n{}}}\n\n// Second.\nfn second() {{\n{}}}\n",
        lines(8, "    call(N); // it"),
        lines(8, "    other(N); // it")
    );
    let cut_as = |end: &str| -> Vec<(String, String)> {
        let chunks = cut("rust", 60, &text.replace('\n', end));
        let first = |line: String| line.split('\r').next().unwrap().to_owned();
        chunks.into_iter().map(|(line, headings)| (first(line), headings)).collect()
    };
    assert_eq!(cut_as("\r\n"), cut_as("\n"));
    assert_eq!(cut_as("\r"), cut_as("\n"));
    assert_eq!(cut_as("\n").last().unwrap().1, "fn second");
}

#[test]
fn the_target_of_code_is_a_setting_of_its_own() {
    let text = lines(200, "call(N);");
    let settings = ChunkSettings { target: 40, code_target: 120, overlap: 0, prefix: 64 };
    let tokens = |format| {
        let chunks = Chunker::new(settings).unwrap().chunks(&text, format);
        chunks.iter().map(|chunk| chunk.tokens).max().unwrap()
    };
    assert!(tokens(Format::Plain) <= 40);
    let code = tokens(Format::Code(Language::JavaScript));
    assert!((80..=120).contains(&code), "{code}");
    let wrong = |code_target| ChunkSettings { code_target, ..settings }.validate().unwrap_err().to_string();
    assert!(wrong(31).contains("chunk.code_target") && wrong(511).contains("32"), "{}", wrong(31));
}

#[test]
fn a_language_is_stored_by_its_name() {
    for language in Language::ALL {
        let json = serde_json::to_string(&Format::Code(*language)).unwrap();
        assert_eq!(json, format!("{{\"code\":\"{}\"}}", language.name()));
        assert_eq!(serde_json::from_str::<Format>(&json).unwrap(), Format::Code(*language));
        assert_eq!(Language::from_name(language.name()), Some(*language));
    }
    assert_eq!(Language::from_name("cobol"), None);
}
