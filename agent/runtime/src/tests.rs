//! Real containers: these tests need root, the static helpers and `/bin/busybox` (busybox-static), and say so when one is
//! missing. Each has folders of its own and leaves nothing: no process, no cgroup, no mount, also when it fails.

mod crash;
mod exec;
mod external;
mod failures;
mod isolation;
mod lab;
mod lifecycle;
mod limits;
mod mounts;
mod nested;
mod network;
mod propagation;
mod rights;
mod takeover;
mod users;
