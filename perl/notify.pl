# Hands a report to PVE's notification system (PVE::Notify); decides nothing and renders nothing.
#
# pve-ferry feeds this text to `perl -`, followed by a line __END__ and one line of JSON:
#   {"severity":"info","template":"pve-ferry","fields":{...},"data":{...}}
# It ends with 3 when this machine has no PVE::Notify, or one that is older than named templates (PVE 8.2).
use strict;
use warnings;
use JSON::PP;

if (!eval { require PVE::Notify; 1 } || !PVE::Notify->can('notify')) {
    print STDERR "PVE::Notify is not there or too old (PVE 8.2 or later has it)\n";
    exit 3;
}
my $message = JSON::PP->new->utf8->decode(join '', <DATA>);
# common_template_data came later than notify itself (PVE 8.4).
my $common = PVE::Notify->can('common_template_data') ? PVE::Notify::common_template_data() : {};
my $data = { %$common, %{$message->{data}} };
# Matchers compare strings; a number here would make PVE refuse the whole notification.
my %fields = map { $_ => "$message->{fields}->{$_}" } keys %{$message->{fields}};
PVE::Notify::notify($message->{severity}, $message->{template}, $data, \%fields);
