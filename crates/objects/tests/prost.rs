//! Field numbers and wire types against k8s-pb, which was generated from the protobuf definitions of Kubernetes 1.35: what we write
//! of a full instance it reads and writes again, byte for byte.

mod support;

use etcd_objects::encode;
use etcd_objects::schema::Schema;
use k8s_pb::apimachinery::pkg::runtime::Unknown;
use k8s_pb::{Resource, api, apiextensions_apiserver, kube_aggregator};
use prost::Message;
use support::instances::{Full, object};

/// What k8s-pb was generated for.
const MINOR: u8 = 35;

/// Gives the kind that was checked.
fn check<T: Resource + Message + Default>() -> (&'static str, &'static str) {
    let kind = (T::API_VERSION, T::KIND);
    let message = Schema::kubernetes().kind(T::API_VERSION, T::KIND);
    let message = message.unwrap_or_else(|| panic!("{kind:?} is not in the table"));
    let json = object(message, &mut Full::of(Some(MINOR)));
    let value = encode(&json, T::API_VERSION, T::KIND).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
    let envelope = Unknown::decode(value.strip_prefix(b"k8s\0").expect("protobuf")).expect("an envelope");
    let raw = envelope.raw.expect("an object");
    let typed = T::decode(raw.as_slice()).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
    assert!(typed.encode_to_vec() == raw, "{kind:?}");
    kind
}

#[test]
fn every_kind_is_one_of_k8s_pb() {
    let checked = [
        check::<api::admissionregistration::v1::MutatingWebhookConfiguration>(),
        check::<api::admissionregistration::v1::ValidatingAdmissionPolicy>(),
        check::<api::admissionregistration::v1::ValidatingAdmissionPolicyBinding>(),
        check::<api::admissionregistration::v1::ValidatingWebhookConfiguration>(),
        check::<api::admissionregistration::v1alpha1::MutatingAdmissionPolicy>(),
        check::<api::admissionregistration::v1alpha1::MutatingAdmissionPolicyBinding>(),
        check::<api::admissionregistration::v1beta1::MutatingAdmissionPolicy>(),
        check::<api::admissionregistration::v1beta1::MutatingAdmissionPolicyBinding>(),
        check::<api::apiserverinternal::v1alpha1::StorageVersion>(),
        check::<api::apps::v1::ControllerRevision>(),
        check::<api::apps::v1::DaemonSet>(),
        check::<api::apps::v1::Deployment>(),
        check::<api::apps::v1::ReplicaSet>(),
        check::<api::apps::v1::StatefulSet>(),
        check::<api::authentication::v1::SelfSubjectReview>(),
        check::<api::authentication::v1::TokenReview>(),
        check::<api::authorization::v1::LocalSubjectAccessReview>(),
        check::<api::authorization::v1::SelfSubjectAccessReview>(),
        check::<api::authorization::v1::SelfSubjectRulesReview>(),
        check::<api::authorization::v1::SubjectAccessReview>(),
        check::<api::autoscaling::v1::HorizontalPodAutoscaler>(),
        check::<api::autoscaling::v2::HorizontalPodAutoscaler>(),
        check::<api::batch::v1::CronJob>(),
        check::<api::batch::v1::Job>(),
        check::<api::certificates::v1::CertificateSigningRequest>(),
        check::<api::certificates::v1alpha1::ClusterTrustBundle>(),
        check::<api::certificates::v1beta1::ClusterTrustBundle>(),
        check::<api::certificates::v1beta1::PodCertificateRequest>(),
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
        check::<api::policy::v1::PodDisruptionBudget>(),
        check::<api::rbac::v1::ClusterRole>(),
        check::<api::rbac::v1::ClusterRoleBinding>(),
        check::<api::rbac::v1::Role>(),
        check::<api::rbac::v1::RoleBinding>(),
        check::<api::resource::v1::DeviceClass>(),
        check::<api::resource::v1::ResourceClaim>(),
        check::<api::resource::v1::ResourceClaimTemplate>(),
        check::<api::resource::v1::ResourceSlice>(),
        check::<api::resource::v1alpha3::DeviceTaintRule>(),
        check::<api::resource::v1beta1::DeviceClass>(),
        check::<api::resource::v1beta1::ResourceClaim>(),
        check::<api::resource::v1beta1::ResourceClaimTemplate>(),
        check::<api::resource::v1beta1::ResourceSlice>(),
        check::<api::resource::v1beta2::DeviceClass>(),
        check::<api::resource::v1beta2::ResourceClaim>(),
        check::<api::resource::v1beta2::ResourceClaimTemplate>(),
        check::<api::resource::v1beta2::ResourceSlice>(),
        check::<api::scheduling::v1::PriorityClass>(),
        check::<api::scheduling::v1alpha1::Workload>(),
        check::<api::storage::v1::CSIDriver>(),
        check::<api::storage::v1::CSINode>(),
        check::<api::storage::v1::CSIStorageCapacity>(),
        check::<api::storage::v1::StorageClass>(),
        check::<api::storage::v1::VolumeAttachment>(),
        check::<api::storage::v1::VolumeAttributesClass>(),
        check::<api::storage::v1beta1::VolumeAttributesClass>(),
        check::<api::storagemigration::v1beta1::StorageVersionMigration>(),
        check::<apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition>(),
        check::<kube_aggregator::pkg::apis::apiregistration::v1::APIService>(),
    ];
    assert!(checked.len() > 85);
}
