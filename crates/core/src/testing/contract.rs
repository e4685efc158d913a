//! What every implementation of the ports must do. Each case returns what went wrong instead of panicking, so that it
//! can run inside a Worker, where a panic would take the instance down.

/// Ends the case when `condition` does not hold.
macro_rules! ensure {
    ($condition:expr) => {
        ensure!($condition, "")
    };
    ($condition:expr, $($detail:tt)+) => {
        let holds: bool = $condition;
        if !holds {
            let place = format!("{}:{}", file!().rsplit('/').next().unwrap_or_default(), line!());
            return Err(format!("{} ({place}) {}", stringify!($condition), format!($($detail)+)).into());
        }
    };
}

mod ledger;
mod lives;
mod parts;
mod reindex;
mod search;
mod services;
mod sources;
mod subject;
mod waiting;

use crate::document::DocumentId;
use crate::ports::{Clock, KeywordIndex, Ports};
use crate::settings::Field;
use crate::{Error, Tenant, keyword};
use subject::Subject;

/// What went wrong.
pub type Fault = String;

/// A [`Fault`] on its way out of a case.
#[derive(Debug)]
struct Flaw(Fault);

/// What a case finds.
type Checked<T = ()> = Result<T, Flaw>;

impl From<Error> for Flaw {
    fn from(error: Error) -> Self {
        Self(error.to_string())
    }
}

impl From<String> for Flaw {
    fn from(fault: String) -> Self {
        Self(fault)
    }
}

impl From<&str> for Flaw {
    fn from(fault: &str) -> Self {
        Self(fault.into())
    }
}

/// One implementation under test.
#[derive(Debug)]
pub struct Contract<'a, P> {
    ports: &'a P,
    /// Makes this run's tenants its own in a store that keeps earlier runs' data.
    run: String,
    fields: Vec<Field>,
}

/// Result of a case.
#[derive(Debug)]
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// What went wrong.
    pub fault: Option<Fault>,
}

impl<'a, P: Ports> Contract<'a, P> {
    /// `run` names this run, in at most 32 bytes; `fields` are the declared filter fields, among them a string `lang`.
    pub fn new(ports: &'a P, run: impl Into<String>, fields: Vec<Field>) -> Self {
        Self { ports, run: run.into(), fields }
    }

    /// Runs all cases. `wait` lets time pass until writes to the vector index may be visible.
    pub async fn run(&self, wait: impl AsyncFn()) -> Vec<Case> {
        let mut cases = Vec::new();
        macro_rules! case {
            ($name:ident $(, $argument:expr)?) => {
                let fault = self.$name($($argument)?).await.err().map(|flaw| flaw.0);
                cases.push(Case { name: stringify!($name), fault });
            };
        }
        case!(a_generation_is_served_only_when_complete);
        case!(a_superseded_generation_is_never_served);
        case!(a_beginning_is_conditional);
        case!(a_deletion_is_conditional);
        case!(a_deletion_hides_at_once_and_the_counter_goes_on);
        case!(a_prefix_is_deleted_in_slices);
        case!(a_failure_leaves_what_is_served);
        case!(a_late_copy_changes_nothing_that_is_served);
        case!(a_failed_generation_is_never_served);
        case!(an_upload_is_known_until_its_generation_is_dead);

        case!(parts_are_planned_in_slices);
        case!(a_plan_takes_only_what_fits);
        case!(unfinished_parts_are_listed);
        case!(a_part_is_written_once);
        case!(a_part_of_other_settings_is_not_written);
        case!(a_restart_forgets_what_was_written);

        case!(work_that_waits_says_so);
        case!(waiting_is_counted_until_work_gets_on);
        case!(overdue_work_is_found);
        case!(work_that_was_sent_is_not_overdue);

        case!(own_vectors_are_reusable_once_written);
        case!(served_vectors_are_reusable);
        case!(a_vector_written_too_late_is_found);
        case!(garbage_is_what_nothing_refers_to);
        case!(garbage_comes_in_slices);
        case!(what_a_failure_left_is_garbage);
        case!(what_a_restart_left_is_garbage);
        case!(vanished_texts_are_counted);
        case!(a_shared_object_outlives_its_first_generation);

        case!(a_tenant_keeps_its_first_embedding);
        case!(staged_generations_are_served_together);
        case!(a_failure_does_not_hold_up_a_reindex);
        case!(an_abandoned_reindex_loses_no_upload);
        case!(outdated_documents_are_listed);
        case!(progress_is_counted);

        case!(identical_chunks_hydrate_once);
        case!(listing_pages_by_id);
        case!(another_tenant_changes_no_score);
        case!(two_chinese_characters_find_their_text);
        case!(keyword_filters_hold);

        case!(vectors_become_visible_and_go, &wait);
        case!(a_namespace_sees_only_itself, &wait);
        case!(vector_filters_hold, &wait);
        case!(documents_are_left_out, &wait);
        case!(objects_are_kept);
        case!(objects_are_read_by_range);
        case!(a_query_is_near_its_answer);
        case!(texts_handed_in_are_collected, &wait);
        case!(the_reranker_keeps_the_order_of_scores);
        cases
    }

    /// A document of a tenant that no other case has.
    fn subject(&self, name: &str) -> Checked<Subject<'a, P::Documents>> {
        let tenant = Tenant::new(format!("{}.{name}", self.run))?;
        let (documents, now) = (self.ports.documents(), self.ports.clock().now());
        Ok(Subject::new(documents, tenant, DocumentId::new("notes/a.md")?, now))
    }

    /// Row and score of the served chunks that match.
    async fn keyword(&self, tenant: &Tenant, query: &str) -> Checked<Vec<(i64, f32)>> {
        let terms = keyword::query_terms(query);
        let matches = self.ports.keywords().search(tenant, &terms, None, 10).await?;
        Ok(matches.into_iter().map(|hit| (hit.row, hit.score)).collect())
    }

    async fn ensure_found(&self, tenant: &Tenant, query: &str, wanted: usize) -> Checked {
        let found = self.keyword(tenant, query).await?.len();
        ensure!(found == wanted, "`{query}`: {found} instead of {wanted}");
        Ok(())
    }
}
