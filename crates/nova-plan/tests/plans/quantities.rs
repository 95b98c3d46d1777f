//! A quantity that does not parse is told where it stands. It is never no quota: nothing is built of the object.

use nova_api::conditions::{Code, Reason};
use nova_api::v1alpha1::{NovaProject, NovaSandbox};
use nova_plan::{Problem, Retry, project, sandbox, tenancy, tenant};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::given::{object, tenancy as given};

/// Each field that holds a quantity, by its path below `spec`.
const FIELDS: [&str; 10] = [
    "quotas.cpu",
    "quotas.memory",
    "quotas.storage",
    "quotas.pods",
    "limits.default.cpu",
    "limits.default.memory",
    "limits.defaultRequest.cpu",
    "limits.defaultRequest.memory",
    "limits.max.cpu",
    "limits.max.memory",
];

/// Texts that the API server takes for a quantity in no version, or only in another notation than ours.
const BAD: [&str; 6] = ["", "lots", "-1", "1 Gi", "1e99", "0x10"];

/// A spec with one quantity in it, beside others that are well.
fn spec(path: &str, text: &str) -> Value {
    let mut spec = json!({"quotas": {"cpu": "4", "pods": 10}, "limits": {"max": {"memory": "1Gi"}}});
    let mut at = &mut spec;
    for part in path.split('.') {
        at = &mut at[part];
    }
    *at = text.into();
    spec
}

fn valid_tenant(plan: Value, mut of_tenant: Value) -> Result<tenant::ValidTenant, Problem> {
    of_tenant["plan"] = "starter".into();
    let (local, plan, tenant) = given(plan, of_tenant);
    let mut cluster = Cluster::default();
    cluster.put(&local);
    cluster.put(&plan);
    cluster.put(&tenant);
    tenancy::valid(&tenant, &cluster)
}

/// Every field with every bad text, told as invalid in the object that holds it.
fn check(object: &str, retry: Retry, refused: impl Fn(Value) -> Option<Problem>) {
    for path in FIELDS {
        assert_eq!(refused(spec(path, "1")), None, "{path} is well");
        for text in BAD {
            let told =
                refused(spec(path, text)).unwrap_or_else(|| panic!("{path}: {text:?} is taken for no limit"));
            assert_eq!(
                (told.object.as_str(), told.reason, told.code),
                (object, Reason::Invalid, Some(Code::Kn422))
            );
            assert_eq!(
                told.message,
                format!("spec.{path}: {text:?} is not a quantity such as 500m, 4 or 8Gi")
            );
            assert_eq!((told.fix, told.retry), (format!("correct spec.{path} of {object}"), retry));
        }
    }
}

#[test]
fn a_plan_whose_quantity_does_not_parse_stops_its_tenants_until_it_is_corrected() {
    check("NovaPlan starter", Retry::OnChange, |plan| valid_tenant(plan, json!({})).err());
}

#[test]
fn a_tenant_whose_quantity_does_not_parse_is_invalid() {
    check("NovaTenant acme", Retry::Never, |tenant| valid_tenant(json!({}), tenant).err());
}

#[test]
fn a_good_quantity_of_a_tenant_does_not_hide_a_bad_one_of_its_plan() {
    for path in FIELDS {
        let told = valid_tenant(spec(path, "lots"), spec(path, "1")).unwrap_err();
        assert_eq!(told.object, "NovaPlan starter", "{path}");
    }
}

#[test]
fn a_project_whose_quantity_does_not_parse_is_invalid() {
    let tenant = valid_tenant(json!({}), json!({})).unwrap();
    check("NovaProject tn-acme/shop", Retry::Never, |spec| {
        let project: NovaProject = object("NovaProject", "tn-acme", "shop", spec);
        project::validate(&project, project::References { tenant: &tenant, older: 0 }).err()
    });
}

#[test]
fn a_sandbox_whose_quantity_does_not_parse_is_invalid() {
    let tenant = valid_tenant(json!({}), json!({})).unwrap();
    check("NovaSandbox tn-acme/dev", Retry::Never, |spec| {
        let sandbox: NovaSandbox = object("NovaSandbox", "tn-acme", "dev", spec);
        sandbox::validate(&sandbox, sandbox::References { tenant: &tenant, older: 0 }).err()
    });
}
