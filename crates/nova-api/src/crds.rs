//! All custom resource definitions, in one order, ready to be written as YAML. No I/O.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use crate::v1alpha1::{NovaApp, NovaCluster, NovaPlan, NovaProject, NovaSandbox, NovaTenant};

/// Every definition, from the cluster down to the app.
#[must_use]
pub fn all() -> Vec<CustomResourceDefinition> {
    vec![
        NovaCluster::crd(),
        NovaPlan::crd(),
        NovaTenant::crd(),
        NovaProject::crd(),
        NovaSandbox::crd(),
        NovaApp::crd(),
    ]
}
