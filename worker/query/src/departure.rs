//! A client that leaves. Where the compatibility flag `enable_request_signal` is set, the runtime tells by the request's
//! `signal`. It may also cancel the reply's stream, but not in every version (workerd #6832).

use futures::{Stream, StreamExt};
use ragflare_cloudflare::http::ApiError;
use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use worker::Request;
use worker::wasm_bindgen::JsCast;
use worker::wasm_bindgen::closure::Closure;
use worker::web_sys::AbortSignal;

/// Calls back when the client of a request has left, as long as this exists.
#[derive(Debug)]
struct Departure {
    signal: AbortSignal,
    listener: Closure<dyn FnMut()>,
}

impl Departure {
    /// Calls `then` once the client has left.
    fn watch(signal: AbortSignal, then: impl FnOnce() + 'static) -> Self {
        let listener = Closure::once(then);
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

/// A stream that ends when the client leaves: the one within is dropped in that moment, and with it what it waits for.
pub(crate) struct UntilLeft<S> {
    place: Rc<RefCell<Place<S>>>,
    _departure: Departure,
}

struct Place<S> {
    stream: Option<S>,
    has_left: bool,
    waker: Option<Waker>,
}

impl<S: 'static> UntilLeft<S> {
    pub(crate) fn new(request: &Request, stream: S) -> Self {
        let signal = request.inner().signal();
        let has_left = signal.aborted();
        let stream = (!has_left).then_some(stream);
        let place = Rc::new(RefCell::new(Place { stream, has_left, waker: None }));
        let departure = Departure::watch(signal, {
            let place = place.clone();
            move || {
                let Ok(mut held) = place.try_borrow_mut() else { return };
                held.has_left = true;
                let (stream, waker) = (held.stream.take(), held.waker.take());
                drop(held);
                drop(stream);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
        });
        Self { place, _departure: departure }
    }

    /// For a reply that is not streamed, when the stream has ended.
    ///
    /// # Errors
    /// When it ended because the client left; nobody reads this.
    pub(crate) fn still_there(&self) -> Result<(), ApiError> {
        if self.place.borrow().has_left {
            return Err(ApiError::new(499, "client_left", "the client left before the reply was whole"));
        }
        Ok(())
    }
}

impl<S: Stream + Unpin> Stream for UntilLeft<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let mut held = self.place.borrow_mut();
        held.waker = Some(context.waker().clone());
        let Some(stream) = held.stream.as_mut() else { return Poll::Ready(None) };
        let item = ready!(stream.poll_next_unpin(context));
        if item.is_none() {
            held.stream = None;
        }
        Poll::Ready(item)
    }
}
