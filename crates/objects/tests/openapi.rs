//! Names and shapes against k8s-openapi, which was generated from the OpenAPI of Kubernetes 1.33: a full instance by our table is an
//! object there, and nothing of it gets lost.

mod support;

use std::collections::BTreeSet;

use etcd_objects::catalog::Catalog;
use etcd_objects::schema::Schema;
use k8s_openapi::serde::{Serialize, de::DeserializeOwned};
use k8s_openapi::{Resource, api, apiextensions_apiserver, apimachinery, kube_aggregator};
use serde_json::Value;
use support::instances::{Full, object};

/// What k8s-openapi is compiled for: see the workspace's features.
const MINOR: u8 = 33;

/// Gives the kind that was checked.
fn check<T: Resource + Serialize + DeserializeOwned>() -> (&'static str, &'static str) {
    let kind = (T::API_VERSION, T::KIND);
    let message = match kind {
        // It belongs to no group; the table has it under that of its package.
        ("v1", "Status") => Schema::kubernetes().kind("meta.k8s.io/v1", "Status"),
        (api_version, kind) => Schema::kubernetes().kind(api_version, kind),
    };
    let message = message.unwrap_or_else(|| panic!("{kind:?} is not in the table"));
    let mut json = object(message, &mut Full::of(Some(MINOR)));
    json["apiVersion"] = Value::from(T::API_VERSION);
    let typed: T = serde_json::from_value(json.clone()).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
    let again = serde_json::to_value(typed).expect("JSON");
    let mut found = Vec::new();
    support::differences("", &json, &again, &mut found);
    assert!(found.is_empty(), "{kind:?}: {found:?}");
    kind
}

#[test]
fn every_kind_is_one_of_openapi() {
    let checked: BTreeSet<_> = [
        check::<api::admissionregistration::v1::MutatingWebhookConfiguration>(),
        check::<api::admissionregistration::v1::ValidatingAdmissionPolicy>(),
        check::<api::admissionregistration::v1::ValidatingAdmissionPolicyBinding>(),
        check::<api::admissionregistration::v1::ValidatingWebhookConfiguration>(),
        check::<api::admissionregistration::v1alpha1::MutatingAdmissionPolicy>(),
        check::<api::admissionregistration::v1alpha1::MutatingAdmissionPolicyBinding>(),
        check::<api::admissionregistration::v1beta1::ValidatingAdmissionPolicy>(),
        check::<api::admissionregistration::v1beta1::ValidatingAdmissionPolicyBinding>(),
        check::<api::apiserverinternal::v1alpha1::StorageVersion>(),
        check::<api::apps::v1::ControllerRevision>(),
        check::<api::apps::v1::DaemonSet>(),
        check::<api::apps::v1::Deployment>(),
        check::<api::apps::v1::ReplicaSet>(),
        check::<api::apps::v1::StatefulSet>(),
        check::<api::authentication::v1::SelfSubjectReview>(),
        check::<api::authentication::v1::TokenRequest>(),
        check::<api::authentication::v1::TokenReview>(),
        check::<api::authorization::v1::LocalSubjectAccessReview>(),
        check::<api::authorization::v1::SelfSubjectAccessReview>(),
        check::<api::authorization::v1::SelfSubjectRulesReview>(),
        check::<api::authorization::v1::SubjectAccessReview>(),
        check::<api::autoscaling::v1::HorizontalPodAutoscaler>(),
        check::<api::autoscaling::v1::Scale>(),
        check::<api::autoscaling::v2::HorizontalPodAutoscaler>(),
        check::<api::batch::v1::CronJob>(),
        check::<api::batch::v1::Job>(),
        check::<api::certificates::v1::CertificateSigningRequest>(),
        check::<api::certificates::v1alpha1::ClusterTrustBundle>(),
        check::<api::certificates::v1beta1::ClusterTrustBundle>(),
        check::<api::coordination::v1::Lease>(),
        check::<api::coordination::v1alpha2::LeaseCandidate>(),
        check::<api::coordination::v1beta1::LeaseCandidate>(),
        check::<api::core::v1::Binding>(),
        check::<api::core::v1::ComponentStatus>(),
        check::<api::core::v1::ConfigMap>(),
        check::<api::core::v1::Endpoints>(),
        check::<api::core::v1::Event>(),
        check::<api::core::v1::LimitRange>(),
        check::<api::core::v1::Namespace>(),
        check::<api::core::v1::Node>(),
        check::<api::core::v1::PersistentVolume>(),
        check::<api::core::v1::PersistentVolumeClaim>(),
        check::<api::core::v1::Pod>(),
        check::<api::core::v1::PodTemplate>(),
        check::<api::core::v1::ReplicationController>(),
        check::<api::core::v1::ResourceQuota>(),
        check::<api::core::v1::Secret>(),
        check::<api::core::v1::Service>(),
        check::<api::core::v1::ServiceAccount>(),
        check::<api::discovery::v1::EndpointSlice>(),
        check::<api::events::v1::Event>(),
        check::<api::flowcontrol::v1::FlowSchema>(),
        check::<api::flowcontrol::v1::PriorityLevelConfiguration>(),
        check::<api::networking::v1::IPAddress>(),
        check::<api::networking::v1::Ingress>(),
        check::<api::networking::v1::IngressClass>(),
        check::<api::networking::v1::NetworkPolicy>(),
        check::<api::networking::v1::ServiceCIDR>(),
        check::<api::networking::v1beta1::IPAddress>(),
        check::<api::networking::v1beta1::ServiceCIDR>(),
        check::<api::node::v1::RuntimeClass>(),
        check::<api::policy::v1::Eviction>(),
        check::<api::policy::v1::PodDisruptionBudget>(),
        check::<api::rbac::v1::ClusterRole>(),
        check::<api::rbac::v1::ClusterRoleBinding>(),
        check::<api::rbac::v1::Role>(),
        check::<api::rbac::v1::RoleBinding>(),
        check::<api::resource::v1alpha3::DeviceClass>(),
        check::<api::resource::v1alpha3::DeviceTaintRule>(),
        check::<api::resource::v1alpha3::ResourceClaim>(),
        check::<api::resource::v1alpha3::ResourceClaimTemplate>(),
        check::<api::resource::v1alpha3::ResourceSlice>(),
        check::<api::resource::v1beta1::DeviceClass>(),
        check::<api::resource::v1beta1::ResourceClaim>(),
        check::<api::resource::v1beta1::ResourceClaimTemplate>(),
        check::<api::resource::v1beta1::ResourceSlice>(),
        check::<api::resource::v1beta2::DeviceClass>(),
        check::<api::resource::v1beta2::ResourceClaim>(),
        check::<api::resource::v1beta2::ResourceClaimTemplate>(),
        check::<api::resource::v1beta2::ResourceSlice>(),
        check::<api::scheduling::v1::PriorityClass>(),
        check::<api::storage::v1::CSIDriver>(),
        check::<api::storage::v1::CSINode>(),
        check::<api::storage::v1::CSIStorageCapacity>(),
        check::<api::storage::v1::StorageClass>(),
        check::<api::storage::v1::VolumeAttachment>(),
        check::<api::storage::v1alpha1::VolumeAttributesClass>(),
        check::<api::storage::v1beta1::VolumeAttributesClass>(),
        check::<api::storagemigration::v1alpha1::StorageVersionMigration>(),
        check::<apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition>(),
        check::<apimachinery::pkg::apis::meta::v1::Status>(),
        check::<kube_aggregator::pkg::apis::apiregistration::v1::APIService>(),
    ]
    .into();
    // Of the types that are stored none was left out. Old versions of them are only in the protobuf definitions, not in OpenAPI.
    let catalog = Catalog::builtin();
    let types: BTreeSet<_> = checked.iter().filter_map(|(version, kind)| catalog.of_kind(version, kind)).collect();
    let left_out: Vec<_> = Schema::kubernetes()
        .messages()
        .iter()
        .filter(|message| message.is_kind && message.fields.iter().any(|f| (f.since..=f.last).contains(&MINOR)))
        .filter_map(|message| catalog.of_kind(message.api_version, message.name))
        .filter(|resource| !types.contains(resource))
        .collect();
    assert!(left_out.is_empty(), "{left_out:?}");
}
