package PVE::Notify;
# A strict stand-in for PVE's module: takes what the real one takes, refuses everything else, and
# writes it to $FAKE_PVE_STATE/notify.json. No templates are rendered.
use strict;
use warnings;
use JSON::PP;

my $TEMPLATES = $ENV{FAKE_PVE_TEMPLATES};

sub common_template_data { return { hostname => 'pve1', fqdn => 'pve1.example', 'cluster-name' => 'lab' } }

sub notify {
    my ($severity, $template, $data, $fields, $config) = @_;
    die "severity $severity\n" if $severity !~ /^(info|notice|warning|error|unknown)$/;
    die "no template $template\n" if !-e "$TEMPLATES/$template-subject.txt.hbs" || !-e "$TEMPLATES/$template-body.txt.hbs";
    die "data is no hash\n" if ref($data) ne 'HASH';
    for my $key (sort keys %$fields) {
        my $value = $fields->{$key};
        die "field $key is no string\n" if ref($value) || JSON::PP->new->allow_nonref->encode($value) !~ /^"/;
    }
    open(my $out, '>>', "$ENV{FAKE_PVE_STATE}/notify.json") or die "cannot write: $!\n";
    print $out JSON::PP->new->utf8->canonical->encode({ severity => $severity, template => $template, data => $data, fields => $fields }), "\n";
    close($out) or die "cannot write: $!\n";
}

1;
