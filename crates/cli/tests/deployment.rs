//! Both engines give the same ranking. Needs a running stack, so it is asked for by name:
//!
//! ```sh
//! cargo xtask up --port 8787 --data target/stack --fresh
//! RAGFLARE_URL=http://127.0.0.1:8787 ADMIN_KEY=$(cat target/stack/admin-key) \
//!     cargo test --package ragflare --test deployment -- --ignored
//! ```

#![allow(clippy::unwrap_used, reason = "a test")]

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

fn report(arguments: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ragflare"));
    command.args(["eval", "beir", "chroma", "squad", "--ablation", "--top-k", "20", "--json"]).arg(&file);
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/eval"));
    let output = command.args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

#[test]
#[ignore = "needs a running stack: RAGFLARE_URL and ADMIN_KEY"]
fn this_process_and_a_deployment_rank_the_same() {
    let url = std::env::var("RAGFLARE_URL").expect("RAGFLARE_URL is the stack's address");
    let here = report(&[]);
    let there = report(&["--url", &url]);
    let mut compared = 0;
    for (here, there) in here.as_array().unwrap().iter().zip(there.as_array().unwrap()) {
        assert_eq!(here["indexed"], there["indexed"], "{}", here["set"]);
        let configs = |report: &Value| report["configs"].as_array().unwrap().clone();
        for (here, there) in configs(here).iter().zip(&configs(there)) {
            let questions = |config: &Value| config["questions"].as_array().unwrap().clone();
            for (here, there) in questions(here).iter().zip(&questions(there)) {
                let hits = |question: &Value| question["hits"].as_array().unwrap().clone();
                let place = |hit: &Value| (hit[0].clone(), hit[1].clone());
                let (ours, theirs) = (hits(here), hits(there));
                let ranking = |hits: &[Value]| hits.iter().map(place).collect::<Vec<_>>();
                assert_eq!(ranking(&ours), ranking(&theirs), "{here:#}\n{there:#}");
                for (ours, theirs) in ours.iter().zip(&theirs) {
                    let gap = ours[2].as_f64().unwrap() - theirs[2].as_f64().unwrap();
                    assert!(gap.abs() < 1e-3, "{ours} {theirs}");
                }
                compared += 1;
            }
        }
    }
    assert!(compared >= 40, "only {compared} rankings");
}
