//! Kubernetes objects as they are, checked one by one. Pure.

use nova_api::v1alpha1::KubeManifest;
use serde_json::json;

use super::{Deliver, Delivery, Target};
use crate::app::bounds::Extent;
use crate::app::manifest::{self, InvalidManifest};
use crate::child::short_hash;
use crate::problem::Problem;

impl Deliver for KubeManifest {
    fn deliver(&self, to: &Target<'_>) -> Result<Delivery, Problem> {
        let invalid = |invalid: InvalidManifest| {
            to.invalid(format!("spec.source.kubeManifest.manifest: {invalid}")).fix("correct the manifest")
        };
        let documents = manifest::read(&self.manifest).map_err(invalid)?;
        let extents = documents.iter().map(|document| Extent::new(document.values(), document.depth()));
        extents.fold(Extent::default(), Extent::and).check(to.me)?;
        let mut objects = manifest::objects(&documents, to.namespace).map_err(invalid)?;
        manifest::label_pods(&mut objects, to.app);
        Ok(Delivery {
            component: "k8s-objects".to_owned(),
            properties: json!({ "objects": objects }),
            version: format!("sha256:{}", &short_hash(&json!(self.manifest))[..12]),
        })
    }
}
