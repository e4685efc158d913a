//! `POST /v1/feedback`: what readers think of an answer, for AI Gateway, which kept it in its log.

use ragflare_cloudflare::Feedback;
use ragflare_cloudflare::http::{ApiError, read_json};
use ragflare_cloudflare::invocation::Invocation;
use ragflare_cloudflare::keys::Scope;
use worker::{Request, Response, ResponseBuilder};

/// `POST /v1/feedback`
pub(crate) async fn give(
    invocation: Invocation,
    request: &mut Request,
    what: &str,
) -> Result<Response, ApiError> {
    let access = invocation.authorize(request, Scope::Read).await?;
    let feedback: Feedback = read_json(request).await?;
    if invocation.rag.settings().answer.gateway.is_none() {
        let message =
            "answers go through no AI Gateway here (`answer.gateway`): there is no log to write into";
        return Err(ApiError::new(400, "gateway_not_configured", message));
    }
    let noted = invocation.rag.feedback(&access.tenant, &feedback).await;
    invocation.report(what);
    if !noted? {
        return Err(ApiError::not_found(format!("log `{}`", feedback.log_id)));
    }
    Ok(ResponseBuilder::new().with_status(204).empty())
}
