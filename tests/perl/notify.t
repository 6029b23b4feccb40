#!/usr/bin/perl
# perl/notify.pl with a strict stand-in for PVE's module, with an older one, and without any.
use strict;
use warnings;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use JSON::PP;
use Test::More;

my $root = abs_path(dirname(__FILE__) . '/../..');
my $state = tempdir(CLEANUP => 1);
my $json = JSON::PP->new->utf8->canonical;

sub slurp { local (@ARGV, $/) = @_; return <> }

# run(LIBRARY, MESSAGE): the exit code and what was notified.
sub run {
    my ($library, $message) = @_;
    unlink "$state/notify.json";
    local $ENV{PERL5LIB} = $library;
    local $ENV{FAKE_PVE_STATE} = $state;
    local $ENV{FAKE_PVE_TEMPLATES} = "$root/perl/templates/default";
    open(my $pipe, '|-', "exec $^X - 2>$state/said") or die "cannot start perl: $!";
    print $pipe slurp("$root/perl/notify.pl"), "\n__END__\n", $json->encode($message), "\n";
    close($pipe);
    my $code = $? >> 8;
    return ($code, -e "$state/notify.json" ? $json->decode(slurp("$state/notify.json")) : undef);
}

my $message = {
    severity => 'error',
    template => 'pve-ferry',
    fields => { type => 'pve-ferry', hostname => 'pve1', 'job-id' => 7 },
    data => { subject => "M\x{fc}ller __END__", about => 'x', sections => [], guests => { schema => { columns => [] }, data => [] } },
};
my ($code, $told) = run("$root/tests/fakes/perl", $message);
is($code, 0, 'a notification is taken');
is($told->{fields}{'job-id'}, '7', 'a field that looks like a number is a string');
is($told->{data}{subject}, "M\x{fc}ller __END__", 'text arrives as it was');
is($told->{data}{'cluster-name'}, 'lab', 'what PVE knows of itself is there, too');

($code, $told) = run("$root/tests/fakes/perl", { %$message, template => 'nowhere' });
isnt($code, 0, 'a template that is not installed is an error');

my $old = tempdir(CLEANUP => 1);
mkdir "$old/PVE" or die;
open(my $module, '>', "$old/PVE/Notify.pm") or die;
print $module "package PVE::Notify; sub notify { open my \$f, '>', \"\$ENV{FAKE_PVE_STATE}/notify.json\"; print \$f '{\"old\":1}' } 1;\n";
close($module);
($code, $told) = run($old, $message);
is($code, 0, 'PVE before 8.4 has no common data and works');
is($told->{old}, 1, 'and is told');

my $empty = tempdir(CLEANUP => 1);
($code) = run($empty, $message);
is($code, 3, 'a machine without PVE says so');
like(slurp("$state/said"), qr/not there or too old/, 'in words');
done_testing();
