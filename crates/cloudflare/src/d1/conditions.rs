//! Filters as SQL. Field names come from the configuration (`A-Z a-z 0-9 _`), values are bound.

use super::{Statement, Value as Bound};
use ragflare_core::filter::{Condition, Filter, Operator};
use serde_json::Value;

/// Appends ` AND …` for every condition on the JSON column `column`, with the semantics of [`Filter::matches`].
pub(super) fn append(mut statement: Statement, column: &str, filter: Option<&Filter>) -> Statement {
    for condition in filter.map(Filter::conditions).unwrap_or_default() {
        let field = format!("json_extract({column}, '$.\"{}\"')", condition.field);
        let place = statement.len() + 1;
        let sql = sql(condition, &field, place);
        statement.push(" AND ");
        statement.push(&sql);
        statement = match condition.operator {
            Operator::In | Operator::Nin => statement.list(&condition.values),
            _ => statement.bind(bound(&condition.values[0])),
        };
    }
    statement
}

fn sql(condition: &Condition, field: &str, place: usize) -> String {
    // `IS` compares NULLs too; booleans are 1 and 0 on both sides.
    let member = || format!("EXISTS (SELECT 1 FROM json_each(?{place}) WHERE value IS {field})");
    match condition.operator {
        Operator::Eq => format!("{field} IS ?{place}"),
        Operator::Ne => format!("{field} IS NOT ?{place}"),
        Operator::Lt => format!("{field} < ?{place}"),
        Operator::Lte => format!("{field} <= ?{place}"),
        Operator::Gt => format!("{field} > ?{place}"),
        Operator::Gte => format!("{field} >= ?{place}"),
        Operator::In => member(),
        Operator::Nin => format!("NOT {}", member()),
    }
}

fn bound(value: &Value) -> Bound {
    match value {
        Value::String(text) => Bound::from(text.as_str()),
        Value::Number(number) => number.as_f64().map_or(Bound::Null, Bound::Number),
        Value::Bool(flag) => Bound::Number(f64::from(u8::from(*flag))),
        _ => Bound::Null,
    }
}
