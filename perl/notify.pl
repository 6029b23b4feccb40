# Hands a report to PVE's notification system (PVE::Notify); decides nothing and renders nothing.
#
# pve-ferry feeds this text to `perl -`, followed by a line __END__ and one line of JSON:
#   {"severity":"info","template":"pve-ferry","fields":{...},"data":{...}}
# It ends with 3 when this machine has no PVE::Notify, or one from before PVE 8.4, and with 1 when PVE refuses the
# notification. It ends with 0 when PVE took it, also when a target was not reached: PVE only prints a line of that on
# stderr, `ERROR: could not notify via target ...`, which pve-ferry reads.
use strict;
use warnings;
use JSON::PP;

# PVE reads this when it is loaded; another level than its usual one could hide those lines.
delete $ENV{PVE_LOG};
if (!eval { require PVE::Notify; 1 }) {
    print STDERR "PVE::Notify cannot be loaded; a node of PVE 8.4 or later has it: $@";
    exit 3;
}
# Older ones have a notify, too, and not all with these parameters; this came after the named templates that we need.
if (!PVE::Notify->can('common_template_data')) {
    print STDERR "PVE::Notify is too old for named templates; PVE 8.4 or later has them\n";
    exit 3;
}

my $told = eval {
    my $message = JSON::PP->new->utf8->decode(join '', <DATA>);
    # Matchers compare strings; a number here would make PVE refuse the whole notification.
    my %fields = map { $_ => "$message->{fields}->{$_}" } keys %{$message->{fields}};
    # The cluster's name is known only after this; that pmxcfs does not answer is said by notify itself.
    eval { PVE::Cluster::cfs_update(1) };
    # It dies where the node's name does not resolve, and a node in such trouble is worth hearing of. The templates
    # of an administrator may still want the name.
    my $common = eval { PVE::Notify::common_template_data() } // { hostname => $fields{hostname} };
    my $data = { %$common, %{$message->{data}} };
    PVE::Notify::notify($message->{severity}, $message->{template}, $data, \%fields);
    1;
};
if (!$told) {
    # PVE's Rust dies with a hash; the exit code of die would be whatever errno is by now.
    my $why = ref($@) eq 'HASH' ? $@->{message} // 'PVE gives no reason' : "$@";
    chomp $why;
    print STDERR "$why\n";
    exit 1;
}
