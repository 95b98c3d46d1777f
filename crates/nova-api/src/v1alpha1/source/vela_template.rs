//! A source: a `KubeVela` component by its name. No I/O.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::{refs::FreeForm, rules};

/// A `KubeVela` component by its name.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct VelaTemplate {
    /// Name of the `ComponentDefinition`, such as webservice or worker.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::definition_name("template"))]
    pub template: String,
    /// What the component is told. Its definition says what may stand here.
    #[serde(default, skip_serializing_if = "FreeForm::is_empty")]
    pub parameters: FreeForm,
}
