//! A component of Vela's by its name, told what the author wrote. Pure.

use nova_api::conditions::{BlockerClass, ConditionType};
use nova_api::v1alpha1::{FreeForm, VelaTemplate};

use super::{Deliver, Delivery, Target};
use crate::adapters::vela;
use crate::problem::Problem;

/// Component types that reach beyond what an app may do, or have a source kind of their own.
const REFUSED: [(&str, &str); 3] = [
    ("ref-objects", "it makes the platform fetch URLs and copy objects; use kubeManifest"),
    ("k8s-objects", "use the source kind kubeManifest, which checks the objects"),
    ("raw", "use the source kind kubeManifest, which checks the object"),
];

impl Deliver for VelaTemplate {
    fn needs_definition(&self) -> Option<&str> {
        Some(&self.template)
    }

    fn free_form(&self) -> Option<&FreeForm> {
        Some(&self.parameters)
    }

    fn deliver(&self, to: &Target<'_>) -> Result<Delivery, Problem> {
        let template = &self.template;
        if let Some((_, why)) = REFUSED.iter().find(|(name, _)| name == template) {
            let what = format!("spec.source.velaTemplate.template {template:?} is not allowed");
            return Err(to.invalid(what).fix(why));
        }
        if !to.definition_exists {
            let home = vela::DEFINITIONS_NAMESPACE;
            let object = format!("ComponentDefinition {home}/{template}");
            let missing = Problem::missing(ConditionType::DependenciesMet, object, "no such Vela template");
            return Err(missing.class(BlockerClass::User).fix(format!(
                "set spec.source.velaTemplate.template of {} to one that exists, such as webservice, worker or \
                 cron-task, or have the platform team install it (they see all with kubectl -n {home} get \
                 componentdefinitions)",
                to.me
            )));
        }
        let properties = self.parameters.to_value();
        Ok(Delivery { component: template.clone(), properties, version: template.clone() })
    }
}
