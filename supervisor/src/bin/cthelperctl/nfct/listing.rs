//! A helper as nfct prints it; byte for byte what `nfct_helper_snprintf` of `libnetfilter_cthelper` 1.0 writes, and a newline.

use cthelper_proto::netlink::cthelper::{DISABLED, Helper};

/// One block. A name of odd bytes is shown escaped, unlike by nfct: it could move the cursor, or end its line.
pub fn block(helper: &Helper) -> String {
    let status = if helper.status == DISABLED { "disabled" } else { "enabled" };
    let Helper { name, queue, family, l4, state_len, .. } = helper;
    format!(
        "{{\n\t.name = {name},\n\t.queuenum = {queue},\n\t.l3protonum = {family},\n\t.l4protonum = {l4},\n\
         \t.priv_data_len = {state_len},\n\t.status = {status},\n}};\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As pasted by a user of nfct.
    #[test]
    fn the_listing_is_that_of_nfct_to_the_byte() {
        let mdns = Helper { name: "mdns".into(), family: 2, l4: 17, queue: 6, classes: Vec::new(), state_len: 0, status: 1 };
        let bytes = "{\n\t.name = mdns,\n\t.queuenum = 6,\n\t.l3protonum = 2,\n\t.l4protonum = 17,\n\t.priv_data_len = 0,\n\t.status = enabled,\n};\n";
        assert_eq!(block(&mdns), bytes);
        assert!(block(&Helper { status: 0, ..mdns }).ends_with("\t.status = disabled,\n};\n"));
    }
}
