//! Capsule: its manifests with this control plane's addresses in them, and its command line. No I/O.

use anyhow::Result;
use serde_json::Value;

use super::{Launch, kubernetes::Site, without};
use crate::build::Assets;
use crate::identity::base64;

/// The namespace and `ServiceAccount` of the chart. Capsule refuses to work as anybody else.
pub const ACCOUNT: (&str, &str) = ("capsule-system", "capsule");

/// The chart's objects, its webhooks pointed at `port`.
pub fn objects(assets: &Assets, recommended: bool, port: u16, ca: &str) -> Result<Vec<Value>> {
    let rendered = assets.capsule(recommended)?;
    let ca = base64(ca.as_bytes());
    let url = format!("https://127.0.0.1:{port}");
    let mut objects = rendered.objects;
    for object in &mut objects {
        fill(object, &url, ca.as_str().unwrap_or_default());
    }
    Ok(objects)
}

fn fill(value: &mut Value, url: &str, ca: &str) {
    match value {
        Value::String(text) if text.starts_with(crate::build::CAPSULE_URL) => {
            *text = text.replacen(crate::build::CAPSULE_URL, url, 1);
        }
        Value::String(text) if text == crate::build::CAPSULE_CA => ca.clone_into(text),
        Value::Array(items) => items.iter_mut().for_each(|item| fill(item, url, ca)),
        Value::Object(fields) => fields.values_mut().for_each(|field| fill(field, url, ca)),
        _ => {}
    }
}

/// The command line of the chart, with ports of this control plane.
pub fn launch(
    site: &Site<'_>,
    recommended: bool,
    webhook: u16,
    health: u16,
    kubeconfig: &str,
) -> Result<Launch> {
    let rendered = site.built.assets.capsule(recommended)?;
    // One replica needs no election, and a restart within a test must not wait for the lease to run out.
    let mut args = without(&rendered.args, &["webhook-port", "enable-leader-election"]);
    args.push(format!("--webhook-port={webhook}"));
    args.push(format!("--webhook-cert-path={}", site.pki.path("webhook").display()));
    args.push("--metrics-secure=false".to_owned());
    args.push("--metrics-addr=0".to_owned());
    let env = [
        ("NAMESPACE", ACCOUNT.0.to_owned()),
        ("SERVICE_ACCOUNT", ACCOUNT.1.to_owned()),
        ("CAPSULE_HEALTH_ADDRESS", format!("127.0.0.1:{health}")),
        ("KUBECONFIG", kubeconfig.to_owned()),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value)).to_vec();
    Ok(Launch { program: site.built.capsule.clone(), args, env })
}
