package PVE::Notify;
# A strict stand-in for PVE's module (pve-cluster 8.1.0 and later): takes what the real one takes, refuses everything else,
# fails as the real one fails, and writes what it took to $FAKE_PVE_STATE/notify.json. No templates are rendered.
#   FAKE_PVE_TEMPLATES    the directory of the templates that are installed
#   FAKE_PVE_UNRESOLVED   when set, the node's name does not resolve
#   FAKE_PVE_BROKEN       when set, notifications.cfg cannot be understood
#   $FAKE_PVE_STATE/dead-target  when there, its text is the name of a target that is not reached
use strict;
use warnings;
use JSON::PP;

my $TEMPLATES = $ENV{FAKE_PVE_TEMPLATES};
my $cluster = {};

# The real module loads PVE::Cluster, whose knowledge of the cluster is empty before it was asked to update it.
sub PVE::Cluster::cfs_update {
    die "cfs_update without word of failures\n" if !$_[0];
    $cluster = { name => 'lab' };
}

sub common_template_data {
    die "getaddrinfo failed: Name or service not known\n" if $ENV{FAKE_PVE_UNRESOLVED};
    my $data = { hostname => 'pve1', fqdn => 'pve1.example' };
    $data->{'cluster-name'} = $cluster->{name} if $cluster->{name};
    return $data;
}

sub notify {
    my ($severity, $template, $data, $fields, $config) = @_;
    # The Rust below it dies with a hash, and leaves errno as it was.
    if ($ENV{FAKE_PVE_BROKEN}) { $! = 3; die { code => 500, message => 'Could not instantiate notification bus: boom' } }
    die "severity $severity\n" if $severity !~ /^(info|notice|warning|error|unknown)$/;
    die "data is no hash\n" if ref($data) ne 'HASH';
    for my $key (sort keys %$fields) {
        my $value = $fields->{$key};
        die "field $key is no string\n" if ref($value) || JSON::PP->new->allow_nonref->encode($value) !~ /^"/;
    }
    # What goes wrong with a target never comes back to the caller: it is logged, here as in the journal, and nothing else.
    my $installed = -e "$TEMPLATES/$template-subject.txt.hbs" && -e "$TEMPLATES/$template-body.txt.hbs";
    if (!$installed) {
        not_told('mail-to-root', 'failed to render notification template, all template candidates are erroneous or missing');
        return;
    }
    if (open(my $dead, '<', "$ENV{FAKE_PVE_STATE}/dead-target")) {
        chomp(my $name = <$dead>);
        not_told($name, 'could not notify via endpoint(s): connection refused');
    }
    open(my $out, '>>', "$ENV{FAKE_PVE_STATE}/notify.json") or die "cannot write: $!\n";
    print $out JSON::PP->new->utf8->canonical->encode({ severity => $severity, template => $template, data => $data, fields => $fields }), "\n";
    close($out) or die "cannot write: $!\n";
    print_log('INFO', 'notified via target `mail-to-root`');
}

sub not_told {
    my ($target, $why) = @_;
    print_log('ERROR', "could not notify via target `$target`: $why");
}

# Its level comes from the environment, and what is below it is not printed.
sub print_log {
    my ($level, $text) = @_;
    print STDERR "$level: $text\n" if ($ENV{PVE_LOG} // 'info') ne 'off';
}

1;
