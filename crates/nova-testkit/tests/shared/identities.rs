//! Clients act as who they say they are.

use nova_testkit::{ControlPlane, Identity};

async fn who(identity: &Identity) -> (String, Vec<String>) {
    let plane = ControlPlane::shared().await.unwrap();
    let text = plane.kubectl_as(identity, &["auth", "whoami", "-o", "json"]).await.unwrap();
    let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
    let info = &answer["status"]["userInfo"];
    let groups = info["groups"].as_array().unwrap().iter().map(|group| group.as_str().unwrap().to_owned());
    (info["username"].as_str().unwrap().to_owned(), groups.collect())
}

#[tokio::test]
async fn a_user_has_every_group_of_the_certificate() {
    let identity = Identity::user("ann@example.com", &["acme-devs", "everybody", "oidc:a group"]);
    let (name, groups) = who(&identity).await;
    assert_eq!(name, "ann@example.com");
    assert_eq!(name, identity.user_name());
    assert_eq!(groups, ["acme-devs", "everybody", "oidc:a group", "system:authenticated"]);
}

#[tokio::test]
async fn a_user_without_groups_may_do_nothing() {
    let plane = ControlPlane::shared().await.unwrap();
    let refused =
        plane.kubectl_as(&Identity::user("nobody", &[]), &["get", "pods"]).await.unwrap_err().to_string();
    assert!(refused.contains("Forbidden"), "{refused}");
}

#[tokio::test]
async fn the_operator_is_a_service_account_that_is_made_if_absent() {
    let (name, groups) = who(&Identity::operator()).await;
    assert_eq!(name, "system:serviceaccount:kubenova-system:kubenova-operator");
    assert_eq!(name, Identity::operator().user_name());
    assert!(groups.contains(&"system:serviceaccounts:kubenova-system".to_owned()), "{groups:?}");
}

#[tokio::test]
async fn the_administrator_may_do_everything() {
    let plane = ControlPlane::shared().await.unwrap();
    assert_eq!(plane.kubectl(&["auth", "can-i", "*", "*"]).await.unwrap().trim(), "yes");
    let version = plane.admin().await.unwrap().apiserver_version().await.unwrap();
    assert_eq!(version.minor, "36");
}
