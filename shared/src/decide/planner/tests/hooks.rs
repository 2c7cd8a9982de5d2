//! Containers whose command runs and whose `post_start` hooks have not come to their end.
use super::*;

impl World {
    fn in_hooks(mut self, id: &str) -> Self {
        let id = id.parse().expect("a container name");
        self.observed.containers.get_mut(&id).expect("a container").in_hooks = true;
        self
    }
}

#[test]
fn a_container_is_starting_until_its_hooks_are_through() {
    let world = world().want(spec(1, "a")).present("a").container("web.0-r1-1", "a", starting()).in_hooks("web.0-r1-1");
    check(world, "nothing | starting");
}

#[test]
fn start_first_waits_for_the_hooks_of_the_new() {
    let world = world().want_after(spec(1, "a"), start_first(spec(2, "b"))).present("a").present("b");
    let world = world.container("web.0-r1-1", "a", running()).container("web.0-r2-1", "b", starting());
    check(world.in_hooks("web.0-r2-1"), "nothing | starting");
}

#[test]
fn hooks_that_hang_hold_up_no_stop() {
    let unwanted = world().container("web.0-r1-1", "a", starting()).in_hooks("web.0-r1-1");
    check(unwanted, "stop web.0-r1-1 by 110 | stopping @110 | wake 110");
    let replaced = world().want_after(spec(1, "a"), spec(2, "b")).present("a").present("b");
    let replaced = replaced.container("web.0-r1-1", "a", starting()).in_hooks("web.0-r1-1");
    check(replaced, "stop web.0-r1-1 by 110 | stopping the previous container @110 | wake 110");
}
