//! All end-to-end tests, as one program: the tests of labs mostly wait, so a long one of one file goes on beside those of the next.

mod backup;
mod backups;
mod bare;
#[path = "support/browser.rs"]
mod browser;
mod certificates;
mod cka;
mod connection;
mod contents;
mod disk;
mod doctor;
mod drill;
mod etcd;
mod explain;
mod external;
mod faults;
mod findings;
mod full;
mod glass;
mod here;
#[path = "support/image.rs"]
mod image;
mod interrupt;
mod kubeconfig;
mod left_out;
mod live;
mod new_cluster;
mod objects;
mod pages;
mod plan;
#[path = "support/proxy.rs"]
mod proxy;
mod refusals;
mod replace;
mod restore;
mod road;
mod schedule;
mod screens;
mod status;
mod stored;
mod streams;
mod transaction;
mod units;
mod verify;
