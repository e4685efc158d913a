//! A client that leaves. Where the compatibility flag `enable_request_signal` is set, the runtime tells by the request's
//! `signal`. It may also cancel the reply's stream, but not in every version (workerd #6832).

use worker::Request;
use worker::wasm_bindgen::JsCast;
use worker::wasm_bindgen::closure::Closure;
use worker::web_sys::AbortSignal;

/// Calls back when the client of a request has left, as long as this exists.
#[derive(Debug)]
pub(crate) struct Departure {
    signal: AbortSignal,
    listener: Closure<dyn FnMut()>,
}

impl Departure {
    /// Calls `then` once the client has left.
    pub(crate) fn watch(request: &Request, then: impl FnOnce() + 'static) -> Self {
        let (signal, listener) = (request.inner().signal(), Closure::once(then));
        // What can't be watched is as it is without the flag.
        let _ = signal.add_event_listener_with_callback("abort", listener.as_ref().unchecked_ref());
        Self { signal, listener }
    }
}

impl Drop for Departure {
    fn drop(&mut self) {
        let listener = self.listener.as_ref().unchecked_ref();
        let _ = self.signal.remove_event_listener_with_callback("abort", listener);
    }
}
