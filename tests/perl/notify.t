#!/usr/bin/perl
# perl/notify.pl with a strict stand-in for PVE's module, with one that is too old or broken, and without any.
use strict;
use warnings;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use JSON::PP;
use Test::More;

my $root = abs_path(dirname(__FILE__) . '/../..');
my $fake = "$root/tests/fakes/perl";
my $state = tempdir(CLEANUP => 1);
my $json = JSON::PP->new->utf8->canonical;

sub slurp { local (@ARGV, $/) = @_; return <> }

# run(LIBRARY, MESSAGE, VARIABLES...): the exit code, what was notified, and what was said.
sub run {
    my ($library, $message, %variables) = @_;
    unlink "$state/notify.json";
    local @ENV{keys %variables} = values %variables;
    local $ENV{PERL5LIB} = $library;
    local $ENV{FAKE_PVE_STATE} = $state;
    local $ENV{FAKE_PVE_TEMPLATES} = "$root/perl/templates/default";
    open(my $pipe, '|-', "exec $^X - 2>$state/said") or die "cannot start perl: $!";
    print $pipe slurp("$root/perl/notify.pl"), "\n__END__\n", $json->encode($message), "\n";
    close($pipe);
    my $code = $? >> 8;
    my $told = -e "$state/notify.json" ? $json->decode(slurp("$state/notify.json")) : undef;
    return ($code, $told, slurp("$state/said") // '');
}

# module(TEXT): a library with this PVE::Notify.
sub module {
    my $library = tempdir(CLEANUP => 1);
    mkdir "$library/PVE" or die;
    open(my $module, '>', "$library/PVE/Notify.pm") or die;
    print $module "package PVE::Notify;\n", @_;
    close($module) or die;
    return $library;
}

my $message = {
    severity => 'error',
    template => 'pve-ferry',
    fields => { type => 'pve-ferry', hostname => 'pve1', 'job-id' => 7 },
    data => { subject => "M\x{fc}ller __END__", about => 'x', sections => [], guests => { schema => { columns => [] }, data => [] } },
};
my ($code, $told, $said) = run($fake, $message);
is($code, 0, 'a notification is taken');
is($told->{fields}{'job-id'}, '7', 'a field that looks like a number is a string');
is($told->{data}{subject}, "M\x{fc}ller __END__", 'text arrives as it was');
is($told->{data}{'cluster-name'}, 'lab', 'what PVE knows of itself is there, too');
is($said, "INFO: notified via target `mail-to-root`\n", "and PVE's own word of it");

($code, $told, $said) = run($fake, $message, FAKE_PVE_UNRESOLVED => 1);
is($code, 0, 'a node whose name does not resolve is heard of');
is($told->{data}{hostname}, 'pve1', 'by the name that it has');

for my $level (undef, 'off') {
    ($code, $told, $said) = run($fake, { %$message, template => 'nowhere' }, $level ? (PVE_LOG => $level) : ());
    is($code, 0, 'a template that is not installed ends as PVE ends it');
    like($said, qr/^ERROR: could not notify via target `mail-to-root`: failed to render/m, 'and shows on stderr');
}

($code, $told, $said) = run($fake, $message, FAKE_PVE_BROKEN => 1);
is($code, 1, "PVE's refusal has one exit code, whatever errno is");
is($said, "Could not instantiate notification bus: boom\n", 'and is said in its words');

my $old = module("sub notify { open my \$f, '>', \"\$ENV{FAKE_PVE_STATE}/notify.json\"; print \$f '{}' } 1;\n");
($code, $told, $said) = run($old, $message);
is($code, 3, 'a notify from before named templates is not called');
is($told, undef, 'at all');
like($said, qr/too old.*PVE 8\.4/, 'and it is said which PVE it takes');

($code, $told, $said) = run(module("require No::Such::Part; 1;\n"), $message);
is($code, 3, 'a PVE::Notify that does not load is as good as none');
like($said, qr{No/Such/Part\.pm}, 'and what is missing is named');

($code, $told, $said) = run(tempdir(CLEANUP => 1), $message);
is($code, 3, 'a machine without PVE says so');
like($said, qr{cannot be loaded; a node of PVE 8\.4 or later has it: .*PVE/Notify\.pm}, 'in words');
done_testing();
