//! What the tests of loads and of crashes share: chance that can be repeated, texts made by it, and the twin's controls.

#![allow(dead_code, reason = "each test uses a part of it")]

use anyhow::{Context, Result, ensure};
use ragflare_tests::{Client, Reply};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// The index that the workers use.
const INDEX: &str = "ragflare";
const WORDS: &str = "the a of and to in is it that with for as on was at by from or but not which when where all some \
    one two more than lamp oil wick glass tower keeper storm harbour fog signal horn sea ship boat rock tide wind wave \
    night morning winter summer log book stair lens clock weight chain key door cellar roof flag rope anchor sail mast \
    deck captain pilot crew chart light beam minute hour day week month year engine pump valve gauge pressure steam coal \
    fire water salt bread stove kettle letter paper ink pen table chair window stone brick iron copper brass paint brush \
    bird gull seal fish net island coast cliff beach sand river bridge road village market church school doctor nurse \
    burns turns rings shines opens closes begins ends keeps holds lifts lowers fills empties cleans mends counts writes \
    reads sends brings takes finds loses hears sees waits works sleeps wakes climbs falls breaks bends slowly quickly \
    always never often seldom twice early late high low far near long short old new cold warm dark bright heavy quiet";
const SYLLABLES: &str = "ba be bo da de di fa fe go ha he ka ki ko la le li lo ma me mi mo na ne no pa pe po ra re ri ro \
    sa se si so ta te ti to va ve vi vo za ze zo";

/// Numbers by chance, the same for the same seed (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `limit`, which is at least 1.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub(crate) fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    pub(crate) fn millis(&mut self, least: usize, most: usize) -> Duration {
        Duration::from_millis((least + self.below(most - least + 1)) as u64)
    }

    /// One of several; the first ones more often when `skewed`.
    fn pick<'a>(&mut self, all: &[&'a str], skewed: bool) -> &'a str {
        let mut place = self.below(all.len());
        if skewed {
            place = self.below(place + 1);
        }
        all[place]
    }

    /// Sentences of about so many words in all, some of which no dictionary has.
    pub(crate) fn prose(&mut self, words: usize) -> String {
        let known: Vec<&str> = WORDS.split_whitespace().collect();
        let syllables: Vec<&str> = SYLLABLES.split_whitespace().collect();
        let mut text = String::with_capacity(words * 6);
        let mut left = words;
        while left > 0 {
            let length = left.min(6 + self.below(12));
            for place in 0..length {
                let word = if self.percent(12) {
                    (0..=1 + self.below(3)).map(|_| self.pick(&syllables, false)).collect()
                } else {
                    self.pick(&known, true).to_owned()
                };
                if place == 0 {
                    text.extend(word.chars().next().into_iter().flat_map(char::to_uppercase));
                    text.push_str(&word[1..]);
                } else {
                    text.push(' ');
                    text.push_str(&word);
                }
            }
            text.push_str(". ");
            left -= length;
        }
        text.truncate(text.trim_end().len());
        text
    }
}

/// A number from the environment.
pub(crate) fn number<N: FromStr>(name: &str, default: N) -> Result<N> {
    match std::env::var(name) {
        Ok(text) => text.parse().ok().with_context(|| format!("{name} is `{text}`, not a number")),
        Err(_) => Ok(default),
    }
}

/// Percent-encoded for a query.
pub(crate) fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte.into());
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

/// The twin's controls.
#[derive(Clone, Debug)]
pub(crate) struct Twin(Client);

impl Twin {
    pub(crate) fn new(url: &str) -> Self {
        Self(Client::new(url))
    }

    pub(crate) fn control(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        // A server that answers before it has read a body closes the connection, which the next request may find out late.
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.0.send(method, &format!("/control/{path}"), &[], body.as_bytes())?.expect(200)
    }

    /// Replaces all rules.
    pub(crate) fn faults(&self, rules: &Value) -> Result<()> {
        self.control("PUT", "faults", rules).map(drop)
    }

    pub(crate) fn stats(&self) -> Result<Value> {
        self.control("GET", "stats", &Value::Null)
    }

    pub(crate) fn reset_stats(&self) -> Result<()> {
        self.control("POST", "stats/reset", &Value::Null).map(drop)
    }

    /// How long written vectors stay invisible.
    pub(crate) fn visible_after(&self, ms: u64) -> Result<()> {
        self.control("PUT", "mutation-delay", &json!({"ms": ms})).map(drop)
    }

    /// The ids of all vectors, those not visible yet included.
    pub(crate) fn vectors(&self) -> Result<Vec<String>> {
        self.control("POST", "flush", &Value::Null)?;
        let found = self.control("GET", &format!("indexes/{INDEX}/ids"), &Value::Null)?;
        let ids = found["ids"].as_array().context("no ids")?;
        Ok(ids.iter().filter_map(|id| id.as_str().map(ToOwned::to_owned)).collect())
    }
}

/// The sum of a tree's numbers: calls of all kinds and statuses.
pub(crate) fn sum(counts: &Value) -> u64 {
    match counts {
        Value::Object(members) => members.values().map(sum).sum(),
        other => other.as_u64().unwrap_or_default(),
    }
}

/// Runs the sweeper as if everything that was sent were lost.
pub(crate) fn sweep(admin: &Client) -> Result<Value> {
    admin.post("/v1/admin/sweep?older_than=0", &json!({}))?.expect(200)
}

/// Sweeps until there is nothing left to do.
pub(crate) fn sweep_until_quiet(admin: &Client, patience: Duration) -> Result<()> {
    let deadline = Instant::now() + patience;
    let mut quiet = 0;
    while quiet < 3 {
        let swept = sweep(admin)?;
        quiet = if sum(&swept) == 0 { quiet + 1 } else { 0 };
        ensure!(Instant::now() < deadline, "the sweeper still finds work: {swept}");
        std::thread::sleep(Duration::from_millis(if quiet > 0 { 100 } else { 500 }));
    }
    Ok(())
}

/// All documents of a tenant.
pub(crate) fn documents(client: &Client, query: &str) -> Result<Vec<Value>> {
    pages(client, "/v1/documents", "documents", query)
}

/// All chunks of a document.
pub(crate) fn chunks(client: &Client, id: &str) -> Result<Vec<Value>> {
    pages(client, &format!("/v1/documents/{id}/chunks"), "chunks", "")
}

fn pages(client: &Client, path: &str, name: &str, query: &str) -> Result<Vec<Value>> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let mut page = client.get(&format!("{path}?limit=100{query}{cursor}"))?.expect(200)?;
        let Value::Array(rows) = page[name].take() else { anyhow::bail!("no {name} in {page}") };
        all.extend(rows);
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={}", encoded(next)),
            None => return Ok(all),
        }
    }
}

/// The vectors that a document's chunks refer to.
pub(crate) fn vectors_of(chunks: &[Value]) -> impl Iterator<Item = String> {
    chunks.iter().filter_map(|chunk| Some(chunk["id"].as_str()?.rsplit_once('.')?.0.to_owned()))
}

/// Whether an upload was accepted.
pub(crate) fn accepted(reply: &Reply) -> Result<Value> {
    ensure!(matches!(reply.status, 200 | 202), "{}: {}", reply.status, reply.text());
    reply.expect(reply.status)
}

/// Every count that the audit makes and that should be 0 is.
pub(crate) fn audit(admin: &Client) -> Result<()> {
    let found = admin.get("/v1/admin/audit")?.expect(200)?;
    ensure!(
        found["inconsistencies"].is_object() && sum(&found["inconsistencies"]) == 0,
        "the audit finds {found}"
    );
    Ok(())
}
