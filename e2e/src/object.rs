//! How a test names, writes and changes an object: its kind, its place, its document. No I/O of its own.

mod documents;
mod kinds;
mod place;

pub use documents::{app, document, image, manifest, plan, project, sandbox, tenant};
pub use kinds::{Kind, all, kind, nova};
pub use place::{Place, Says};

use anyhow::{Context as _, Result, bail};
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::Value;

/// Changes an object by a merge patch.
pub async fn merge(api: &Api<DynamicObject>, name: &str, patch: &Value) -> Result<DynamicObject> {
    let patched = api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
    patched.with_context(|| format!("patch {name}"))
}

/// The API server has refused this with one of these codes; gives back its message.
///
/// # Errors
/// When it was allowed, or refused in another way.
pub fn refused(what: &str, codes: &[u16], answer: Result<impl Sized, kube::Error>) -> Result<String> {
    match answer {
        Err(kube::Error::Api(status)) if codes.contains(&status.code) => Ok(status.message.clone()),
        Err(error) => bail!("{what}: {error}"),
        Ok(_) => bail!("{what} was allowed"),
    }
}
