//! A binding of the environment, called as the plain JavaScript object it is.

use js_sys::{Array, Error, Function, Promise, Reflect};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

/// A binding and the name it was found under.
#[derive(Debug, Clone)]
pub(crate) struct Binding {
    pub(crate) object: JsValue,
    pub(crate) name: String,
}

impl Binding {
    /// Reads a binding from the environment and checks its class by the constructor's name, as `worker` does: the
    /// classes themselves are not in scope. The error says what was found instead.
    pub(crate) fn from_env(env: &worker::Env, name: &str, class: &str) -> Result<Self, String> {
        let env: &JsValue = env.as_ref();
        let object = Reflect::get(env, &JsValue::from_str(name)).map_err(|error| text_of(&error))?;
        if object.is_null_or_undefined() {
            return Err(format!(
                "expected an object of class `{class}`, but the environment has nothing of this name"
            ));
        }
        let found = class_of(&object);
        if found == class {
            Ok(Self { object, name: name.to_owned() })
        } else {
            Err(format!("expected an object of class `{class}`, found `{found}`"))
        }
    }

    /// Calls an async method of the binding. What it throws or rejects with is the error.
    pub(crate) async fn call(&self, method: &str, arguments: &Array) -> Result<JsValue, JsValue> {
        let function: Function = Reflect::get(&self.object, &JsValue::from_str(method))?.dyn_into()?;
        let result = Reflect::apply(&function, &self.object, arguments)?;
        JsFuture::from(Promise::resolve(&result)).await
    }
}

fn class_of(object: &JsValue) -> String {
    if !object.is_object() {
        return object.js_typeof().as_string().unwrap_or_default();
    }
    Reflect::get(object, &JsValue::from_str("constructor"))
        .and_then(|constructor| Reflect::get(&constructor, &JsValue::from_str("name")))
        .ok()
        .and_then(|name| name.as_string())
        .unwrap_or_else(|| "an object without a class".to_owned())
}

/// What a thrown value says.
pub(crate) fn text_of(error: &JsValue) -> String {
    match error.dyn_ref::<Error>() {
        Some(error) => String::from(error.message()),
        None => error.as_string().unwrap_or_else(|| format!("{error:?}")),
    }
}

/// The name of a thrown error, such as `AbortError`.
pub(crate) fn name_of(error: &JsValue) -> String {
    Reflect::get(error, &JsValue::from_str("name")).ok().and_then(|name| name.as_string()).unwrap_or_default()
}

/// The runtime's refusal of one subrequest too many begins this way.
pub(crate) fn is_subrequest_limit(message: &str) -> bool {
    message.contains("Too many subrequests")
}
