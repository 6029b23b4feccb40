#!/usr/bin/perl
# A strict rbd and ceph with a memory: images are files, so that what was imported can be compared. Not a storage.
#
# The links `rbd` and `ceph` on the PATH of a test lead here. It answers the calls that pve-ferry makes, with the options
# that it gives, and nothing else: any other call exits 99 and is noted in $FAKE_PVE_STATE/unexpected. No module is
# loaded: a test calls it a hundred times.
#   FAKE_RBD_STATE   POOL/IMAGE/: `head` (the content), `facts` (id, size, last snapshot's number, one a line), `snaps`
#                    (number, name, size, protected) and snap-NUMBER, the content of each snapshot
#   FAKE_PVE_STATE   `log` gets a line per call, in the form of pve.py, so that the order of all programs can be seen
#   FAKE_RBD_STATE/fault   lines `match WORD` (all must stand in the call) and one of: `fail RC TEXT`; `kill SIGNAL`
#                    (after `bytes N` of the stream); `truncate N` (exit 0); `pause SECONDS` (after `bytes N`); `hang SECONDS` (before
#                    it does anything); `linger SECONDS` (when all is printed and standard output closed); `once`
use strict;
use warnings;

my $BLOCK = 4096;
my %VALUED = map { $_ => 1 } qw(-p -c -n -m --keyring --client-mount-timeout --connect-timeout --auth_supported --image
    --image-id --snap --snap-id --from-snap --path --size --object-size --image-feature --format
    --rbd-concurrent-management-ops --dest --dest-pool --dest-namespace);
my $root = $ENV{FAKE_RBD_STATE} // die "FAKE_RBD_STATE is not set\n";
my ($program) = $0 =~ m{([^/]+)$};
my @call = ($program, @ARGV);

note('log', @call);
my (%option, @verbs);
my @words = @ARGV;
while (@words) {
    my $word = shift @words;
    if ($word eq '--no-progress') { next }
    elsif ($word !~ /^-/)         { push @verbs, $word }
    elsif ($VALUED{$word})        { $option{$word} = shift @words }
    else                          { unexpected() }
}
my %fault = fault();
failure(split / /, $fault{fail}, 2) if $fault{fail};
if ($fault{hang}) {
    note('log', "#hanging $$");
    sleep $fault{hang};
}

my ($pool, $path);
my %CEPH = (
    fsid => sub { print qq({"fsid": "11111111-2222-4333-8444-555555555555"}\n) },
    df   => sub { print qq({"pools": [{"name": "rbd", "stats": {"max_avail": 1099511627776}}]}\n) },
);
my %RBD = (
    'ls'             => sub { print '[', join(', ', map { qq("$_") } images()), "]\n" },
    'create'         => \&create,
    'info'           => \&info,
    'status'         => sub { facts(); print qq({"watchers": []}\n) },
    'du'             => sub { my (undef, $size) = facts(); print qq({"images": [{"used_size": $size}]}\n) },
    'snap ls'        => \&snap_ls,
    'snap create'    => \&snap_create,
    'snap protect'   => sub { protect('true') },
    'snap unprotect' => sub { protect('false') },
    'snap rm'        => \&snap_remove,
    'export-diff'    => \&export,
    'import-diff'    => \&import,
    'rename'         => \&rename_image,
    'rm'             => \&remove,
);
my $work = ($program eq 'ceph' ? \%CEPH : \%RBD)->{ join ' ', @verbs } // unexpected();
if ($program eq 'rbd') {
    $pool = "$root/" . ($option{'-p'} // unexpected());
    $path = defined $option{'--image-id'} ? by_id($option{'--image-id'}) : "$pool/" . ($option{'--image'} // '');
}
$work->();
if ($fault{linger}) {
    close STDOUT;
    note('log', "#lingering $$");
    sleep $fault{linger};
}

sub note {
    my ($name, @line) = @_;
    my $line = time . '000000000 here ' . join(' ', @line) . "\n";
    open my $file, '>>', "$ENV{FAKE_PVE_STATE}/$name" or die "$name: $!\n";
    syswrite $file, $line;
}

sub unexpected {
    note('unexpected', @call);
    print STDERR "unexpected call: @call\n";
    exit 99;
}

sub failure {
    my ($code, $text) = @_;
    print STDERR "$text\n";
    exit $code;
}

sub fault {
    my %found;
    open my $file, '<', "$root/fault" or return;
    while (my $line = <$file>) {
        my ($key, $value) = $line =~ /^(\w+) ?(.*)$/ or next;
        if ($key ne 'match') { $found{$key} = $value }
        elsif (!grep { index($_, $value) >= 0 } @call) { return }
    }
    unlink "$root/fault" if exists $found{once};
    return %found;
}

sub slurp {
    my ($name) = @_;
    open my $file, '<:raw', $name or return undef;
    local $/;
    return scalar(<$file>) // '';
}

sub spill {
    my ($name, $content) = @_;
    open my $file, '>:raw', "$name.new" or die "$name: $!\n";
    print $file $content;
    close $file or die "$name: $!\n";
    rename "$name.new", $name or die "$name: $!\n";
}

sub images {
    opendir my $directory, $pool or die "$pool: $!\n";
    return sort grep { !/^\./ } readdir $directory;
}

sub by_id {
    my ($id) = @_;
    for my $name (images()) {
        return "$pool/$name" if slurp("$pool/$name/facts") =~ /^\Q$id\E\n/;
    }
    failure(2, "rbd: error opening image with id $id: (2) No such file or directory");
}

# Id, size, number of the last snapshot.
sub facts {
    my $text = slurp("$path/facts") // failure(2, "rbd: error opening image: (2) No such file or directory");
    return split /\n/, $text;
}

sub snaps { return map { [split / /] } split /\n/, slurp("$path/snaps") // '' }

sub save_snaps { spill("$path/snaps", join '', map { "@$_\n" } @_) }

sub named {
    my ($name) = @_;
    my ($found) = grep { $_->[1] eq $name } snaps();
    return $found // failure(2, "rbd: error setting snapshot context: (2) No such file or directory");
}

sub create {
    -e $path and failure(17, 'rbd: create error: (17) File exists');
    my ($size) = $option{'--size'} =~ /^(\d+)B$/ or unexpected();
    mkdir $path or die "$path: $!\n";
    spill("$path/head", "\0" x $size);
    spill("$path/facts", sprintf("%x%04x\n%d\n0\n", $$, rand 65536, $size));
}

sub info {
    my ($id, $size) = facts();
    my ($name) = $path =~ m{([^/]+)$};
    # A file `stripes` holds unit and count of a striped image.
    my @stripes = split /\s+/, slurp("$path/stripes") // '';
    my $stripes = @stripes ? qq(, "stripe_unit": $stripes[0], "stripe_count": $stripes[1]) : '';
    print qq({"id": "$id", "name": "$name", "size": $size, "object_size": 4194304, "features": ["layering"]$stripes}\n);
}

sub snap_ls {
    my $form = '{"id": %d, "name": "%s", "size": %d, "protected": "%s"}';
    print '[', join(', ', map { sprintf $form, @$_ } snaps()), "]\n";
}

sub snap_create {
    if ($fault{pause}) {
        note('log', '#paused');
        sleep $fault{pause};
    }
    my ($id, $size, $last) = facts();
    grep { $_->[1] eq $option{'--snap'} } snaps() and failure(17, 'rbd: failed to create snapshot: (17) File exists');
    $last++;
    spill("$path/snap-$last", slurp("$path/head"));
    spill("$path/facts", "$id\n$size\n$last\n");
    save_snaps(snaps(), [$last, $option{'--snap'}, $size, 'false']);
}

sub protect {
    my ($value) = @_;
    my $found = named($option{'--snap'});
    save_snaps(map { $_->[0] == $found->[0] ? [@$_[0 .. 2], $value] : $_ } snaps());
}

sub snap_remove {
    my $number = $option{'--snap-id'};
    my ($found) = grep { $_->[0] == $number } snaps() or failure(2, 'rbd: failed to remove snapshot: (2) No such file');
    $found->[3] eq 'true' and failure(16, 'rbd: snapshot is protected from removal');
    save_snaps(grep { $_->[0] != $number } snaps());
    unlink "$path/snap-$number";
}

sub remove {
    facts();
    snaps() and failure(39, 'rbd: image has snapshots - these must be deleted with rbd snap purge');
    unlink glob "$path/*";
    rmdir $path or die "$path: $!\n";
}

sub rename_image {
    facts();
    my $to = ($option{'--dest-pool'} // '') eq $option{'-p'} ? "$pool/$option{'--dest'}" : unexpected();
    -e $to and failure(17, 'rbd: rename error: (17) File exists');
    rename $path, $to or die "$to: $!\n";
}

sub export {
    my $own = named($option{'--snap'});
    my $now = slurp("$path/snap-$own->[0]");
    my ($then, $stream) = ('', "rbd diff v1\n");
    if (defined $option{'--from-snap'}) {
        my $base = named($option{'--from-snap'});
        $then = slurp("$path/snap-$base->[0]");
        $stream .= 'f' . pack 'V/a*', $base->[1];
    }
    $stream .= 't' . pack('V/a*', $own->[1]) . 's' . pack('Q<', length $now) . records($now, $then) . 'e';
    give($stream);
}

sub records {
    my ($now, $then) = @_;
    my $records = '';
    for (my $at = 0; $at < length $now; $at += $BLOCK) {
        my $new = substr $now, $at, $BLOCK;
        my $old = $at < length $then ? substr $then, $at, length $new : '';
        $old .= "\0" x (length($new) - length $old);
        next if $new eq $old;
        my $is_data = $new =~ /[^\0]/;
        $records .= ($is_data ? 'w' : 'z') . pack('Q<Q<', $at, length $new) . ($is_data ? $new : '');
    }
    return $records;
}

sub give {
    my ($stream) = @_;
    binmode STDOUT;
    $| = 1;
    $stream = substr $stream, 0, $fault{truncate} if defined $fault{truncate};
    my $at = $fault{bytes} // 0;
    print substr $stream, 0, $at;
    if ($fault{pause}) {
        note('log', '#paused');
        sleep $fault{pause};
    }
    kill $fault{kill}, $$ if $fault{kill};
    print substr $stream, $at;
}

# Applies the stream to the head, as rbd does: record by record.
sub import {
    my ($id, undef, $last) = facts();
    if ($fault{pause}) {
        note('log', '#paused');
        sleep $fault{pause};
    }
    kill $fault{kill}, $$ if $fault{kill};
    my ($stream, $content) = (slurp($option{'--path'}), slurp("$path/head"));
    my ($at, $tag) = (length "rbd diff v1\n", '');
    while ($at < length $stream and ($tag = substr $stream, $at++, 1) ne 'e') {
        if ($tag eq 'f' or $tag eq 't') { $at += 4 + unpack 'V', substr $stream, $at, 4 }
        elsif ($tag eq 's') {
            my $size = unpack 'Q<', substr $stream, $at, 8;
            $content = substr($content . "\0" x $size, 0, $size);
            $at += 8;
        }
        else {
            my ($offset, $length) = unpack 'Q<Q<', substr $stream, $at, 16;
            $at += 16;
            substr($content, $offset, $length) = $tag eq 'w' ? substr $stream, $at, $length : "\0" x $length;
            $at += $length if $tag eq 'w';
        }
    }
    note('log', '#cut off') if $tag ne 'e';
    $tag eq 'e' or failure(33, 'rbd: import-diff failed: (33) Numerical argument out of domain');
    spill("$path/head", $content);
    spill("$path/facts", join("\n", $id, length $content, $last) . "\n");
}
