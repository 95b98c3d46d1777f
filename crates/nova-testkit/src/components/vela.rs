//! KubeVela: its command line. No I/O.

use anyhow::Result;

use super::{Launch, kubernetes::Site, without};

/// The namespace and `ServiceAccount` of the chart.
pub const ACCOUNT: (&str, &str) = ("vela-system", "vela-vela-core");

/// The command line of the chart, with ports of this control plane.
pub fn launch(site: &Site<'_>, health: u16, kubeconfig: &str) -> Result<Launch> {
    let rendered = site.built.assets.vela()?;
    let mut args =
        without(&rendered.args, &["metrics-addr", "health-addr", "enable-leader-election", "use-webhook"]);
    args.push("--metrics-addr=0".to_owned());
    args.push(format!("--health-addr=127.0.0.1:{health}"));
    args.push("--use-webhook=false".to_owned());
    let env = vec![("KUBECONFIG".to_owned(), kubeconfig.to_owned())];
    Ok(Launch { program: site.built.vela_core.clone(), args, env })
}
