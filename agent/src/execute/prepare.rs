//! Makes ready what a container needs of its host, part by part; what is not used in the end is given back when the container is removed.

use super::Executor;
use super::container_spec::Prepared;
use coord_image::Image;
use coord_shared::decide::planner::Spec;
use coord_shared::names::ContainerId;

impl Executor {
    /// Everything that [`super::container_spec`] merges in. The error is in words for the operator.
    pub(super) async fn prepare(&self, container: &ContainerId, spec: &Spec, image: &Image) -> Result<Prepared, String> {
        let asked = &spec.document.container;
        // What costs nothing is asked first.
        let (backend, host) = (self.backend(asked)?, self.devices(asked)?);
        let network = self.network(container, asked).await?;
        let door = self.door(container, spec, &backend).await?;
        Ok(Prepared {
            lowers: self.mount(&image.digest).await?,
            network: network.mode,
            hosts_file: network.hosts_file,
            resolv_conf: network.resolv_conf,
            mounts: [self.mounts(container, asked, image).await?, host.mounts, door].concat(),
            nests: asked.nested.is_some(),
            devices: host.devices,
            env: host.env,
            groups: host.groups,
            rlimits: self.rlimits(asked),
            backend,
            log: self.logs.policy(&container.instance, &asked.logging),
        })
    }
}
