//! Rows as SQL that says exactly what was stored, in statements that D1 takes.

use std::fmt::Write as _;

use anyhow::{Result, bail};

/// D1 takes statements of 100,000 bytes.
const STATEMENT: usize = 90_000;
/// What one statement adds to a text that is too long for one, in bytes of that text.
const PIECE: usize = 32 << 10;
/// Keeps the sums of [`Value::weight`] small.
const PRIME: i64 = 1_000_003;

/// A stored value. The schema has no others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// NULL.
    Null,
    /// A whole number.
    Integer(i64),
    /// A text.
    Text(String),
}

impl Value {
    /// From wrangler's JSON.
    ///
    /// # Errors
    /// When it is something else.
    pub(crate) fn from_json(value: serde_json::Value) -> Result<Self> {
        match value {
            serde_json::Value::Null => Ok(Self::Null),
            serde_json::Value::String(text) => Ok(Self::Text(text)),
            serde_json::Value::Number(number) if number.is_i64() => {
                Ok(Self::Integer(number.as_i64().unwrap_or_default()))
            }
            other => bail!("{other} is no whole number, text or NULL"),
        }
    }

    /// As SQL on one line.
    pub(crate) fn literal(&self) -> String {
        match self {
            Self::Null => "NULL".to_owned(),
            Self::Integer(number) => number.to_string(),
            Self::Text(text) if is_plain(text) => format!("'{}'", text.replace('\'', "''")),
            Self::Text(text) => {
                let hex = text.bytes().fold(String::with_capacity(2 * text.len()), |mut hex, byte| {
                    let _ = write!(hex, "{byte:02X}");
                    hex
                });
                format!("CAST(X'{hex}' AS TEXT)")
            }
        }
    }

    /// What it adds to its column's sum; [`weight`] is the same in SQL.
    pub(crate) fn weight(&self) -> i64 {
        match self {
            Self::Null => 0,
            Self::Integer(number) => number % PRIME,
            Self::Text(text) => i64::try_from(text.len()).unwrap_or(i64::MAX),
        }
    }

    /// About how much memory it takes, in bytes.
    pub(crate) fn size(&self) -> usize {
        if let Self::Text(text) = self { text.len() } else { 8 }
    }
}

/// Whether wrangler passes a text on as it stands. It ends statements at a NUL, and cuts words about transactions out of a
/// file, wherever they stand; and one line per statement keeps the file easy to take apart.
fn is_plain(text: &str) -> bool {
    !text.chars().any(char::is_control) && !text.contains("BEGIN TRANSACTION") && !text.contains("COMMIT;")
}

/// The SQL expression for the sum of a column's weights.
pub(crate) fn weight(column: &str) -> String {
    let column = name(column);
    format!(
        "sum(CASE typeof({column}) WHEN 'integer' THEN {column} % {PRIME} WHEN 'text' THEN octet_length({column}) ELSE 0 END)"
    )
}

/// A table's or column's name as SQL.
pub(crate) fn name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Names as SQL, separated by commas.
pub(crate) fn names(all: &[String]) -> String {
    all.iter().map(|one| name(one)).collect::<Vec<_>>().join(",")
}

/// A table of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    /// Its name.
    pub(crate) name: String,
    /// Its columns, in order.
    pub(crate) columns: Vec<String>,
    /// The positions of those columns that make its primary key, in the key's order.
    pub(crate) key: Vec<usize>,
}

impl Table {
    /// The names of the key's columns.
    pub(crate) fn key_names(&self) -> Vec<String> {
        self.key.iter().map(|position| self.columns[*position].clone()).collect()
    }

    /// Statements that insert these rows, each on one line.
    pub(crate) fn inserts(&self, rows: &[Vec<Value>]) -> Vec<String> {
        let start = format!("INSERT INTO {} ({}) VALUES ", name(&self.name), names(&self.columns));
        let mut statements = Vec::new();
        let mut open = String::new();
        for row in rows {
            let (tuple, later) = self.tuple(row, STATEMENT - start.len());
            if !open.is_empty() && open.len() + tuple.len() > STATEMENT {
                statements.push(open + ";");
                open = String::new();
            }
            open += if open.is_empty() { &start } else { "," };
            open += &tuple;
            if !later.is_empty() {
                statements.push(std::mem::take(&mut open) + ";");
                statements.extend(later);
            }
        }
        if !open.is_empty() {
            statements.push(open + ";");
        }
        statements
    }

    /// A row in parentheses, and the statements that then append what is too long for it.
    fn tuple(&self, row: &[Value], room: usize) -> (String, Vec<String>) {
        let mut literals: Vec<String> = row.iter().map(Value::literal).collect();
        let mut later = Vec::new();
        while literals.iter().map(|literal| literal.len() + 1).sum::<usize>() + 2 > room {
            let longest =
                (0..row.len()).filter(|at| !self.key.contains(at)).max_by_key(|at| literals[*at].len());
            let Some((at, Value::Text(text))) = longest.map(|at| (at, &row[at])) else { break };
            if literals[at].len() <= 2 {
                break;
            }
            "''".clone_into(&mut literals[at]);
            later.extend(pieces(text).map(|piece| self.append(row, at, piece)));
        }
        (format!("({})", literals.join(",")), later)
    }

    fn append(&self, row: &[Value], at: usize, piece: &str) -> String {
        let column = name(&self.columns[at]);
        let piece = Value::Text(piece.to_owned()).literal();
        let key: Vec<String> = self
            .key
            .iter()
            .map(|position| format!("{} = {}", name(&self.columns[*position]), row[*position].literal()))
            .collect();
        format!("UPDATE {} SET {column} = {column} || {piece} WHERE {};", name(&self.name), key.join(" AND "))
    }
}

fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (piece, after) = rest.split_at(rest.floor_char_boundary(PIECE));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    fn table() -> Table {
        Table {
            name: "t".to_owned(),
            columns: vec!["k".to_owned(), "a\"b".to_owned(), "end".to_owned()],
            key: vec![0],
        }
    }

    #[test]
    fn literals_are_exact_and_on_one_line() {
        assert_eq!(Value::Null.literal(), "NULL");
        assert_eq!(Value::Integer(-7).literal(), "-7");
        assert_eq!(text("it's 漢字 🦀 \\n;--").literal(), "'it''s 漢字 🦀 \\n;--'");
        assert_eq!(text("a\nb").literal(), "CAST(X'610A62' AS TEXT)");
        assert_eq!(text("\0").literal(), "CAST(X'00' AS TEXT)");
        for word in ["BEGIN TRANSACTION;", "COMMIT;", "a\rb"] {
            assert!(!text(word).literal().contains(word));
        }
    }

    #[test]
    fn only_what_the_schema_has_is_read() {
        assert_eq!(Value::from_json(serde_json::json!(9_007_199_254_740_991_i64)).unwrap().weight(), 224_292);
        assert!(Value::from_json(serde_json::json!(0.5)).is_err());
        assert!(Value::from_json(serde_json::json!([1, 2])).is_err());
    }

    #[test]
    fn statements_stay_below_the_limit() {
        let rows: Vec<_> =
            (0..40).map(|key| vec![Value::Integer(key), text(&"'".repeat(8 << 10)), Value::Null]).collect();
        let statements = table().inserts(&rows);
        assert!(statements.iter().all(|statement| statement.len() <= 100_000));
        assert!(statements.len() < 12, "{}", statements.len());
        assert!(statements[0].starts_with("INSERT INTO \"t\" (\"k\",\"a\"\"b\",\"end\") VALUES (0,'''"));
        assert_eq!(table().inserts(&[]), Vec::<String>::new());
    }

    #[test]
    fn what_is_too_long_for_a_statement_is_appended() {
        let long = "漢\n".repeat(100_000);
        let row = vec![Value::Integer(1), text(&long), text(&"'".repeat(80_000))];
        let statements = table().inserts(&[row, vec![Value::Integer(2), text("x"), text("y")]]);
        assert!(statements.iter().all(|statement| statement.len() <= 100_000 && !statement.contains('\n')));
        assert_eq!(statements[0], "INSERT INTO \"t\" (\"k\",\"a\"\"b\",\"end\") VALUES (1,'','');");
        assert!(statements[1].starts_with("UPDATE \"t\" SET \"a\"\"b\" = \"a\"\"b\" || CAST(X'"));
        assert!(statements[1].ends_with(" WHERE \"k\" = 1;"));
        assert_eq!(
            statements.last().unwrap(),
            "INSERT INTO \"t\" (\"k\",\"a\"\"b\",\"end\") VALUES (2,'x','y');"
        );
    }
}
