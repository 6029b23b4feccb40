#!/usr/bin/perl
# perl/templates rendered from the message of the notify unit tests. The renderer below leaves every blank as it stands,
# as handlebars of PVE 8.4 does; later ones drop lines that hold only a block's tag, so that no such line may be in a text.
use strict;
use warnings;
use utf8;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use JSON::PP;
use Test::More;

binmode(Test::More->builder->$_, ':utf8') for qw(output failure_output);
my $root = abs_path(dirname(__FILE__) . '/../..');
my $golden = "$root/tests/data/told/pve.txt";

sub slurp { open(my $file, '<:utf8', $_[0]) or return ''; local $/; return <$file> }
sub template { return slurp("$root/perl/templates/default/pve-ferry-$_[0].hbs") }
sub message { return JSON::PP->new->decode(slurp("$root/tests/data/told/pve.json"))->{data} }

sub value {
    my ($path, $context) = @_;
    for my $name (split /\./, $path) {
        die "{{$path}}: no $name here\n" if ref($context) ne 'HASH' || !exists $context->{$name};
        $context = $context->{$name};
    }
    return $context;
}

sub is_true { my ($value) = @_; return ref($value) eq 'ARRAY' ? @$value : $value ne '' }

# The helper of proxmox-notify, for text: columns as wide as their widest cell and four blanks.
sub table {
    my ($table, $escape) = @_;
    my @columns = @{value('schema.columns', $table)};
    my @rows = (
        { map { $_->{id} => $_->{label} } @columns },
        @{value('data', $table)},
    );
    my $text = '';
    for my $row (@rows) {
        for my $column (@columns) {
            my $width = 4 + (sort { $b <=> $a } map { utf8::encode(my $cell = $_->{$column->{id}}); length $cell } @rows)[0];
            $text .= sprintf "%-*s", $width, $row->{$column->{id}};
        }
        $text .= "\n";
    }
    return $escape->($text);
}

# render(TOKENS, CONTEXT, ESCAPE, SHOWN): takes tokens up to the end of the block; with SHOWN false they only pass by.
sub render {
    my ($tokens, $context, $escape, $shown) = @_;
    my $text = '';
    while (@$tokens) {
        my $token = shift @$tokens;
        if ($token !~ /^\{\{(.*)\}\}$/s) { $text .= $token if $shown; next }
        my $tag = $1;
        return $text if $tag =~ m{^/(each|if)$};
        if ($tag =~ /^#(each|if) (\S+)$/) {
            my ($kind, $found) = ($1, $shown ? value($2, $context) : undef);
            my @turns = !$shown ? () : $kind eq 'each' ? @$found : is_true($found) ? ($context) : ();
            my @block = @$tokens;
            $text .= render([@block], $_, $escape, 1) for @turns;
            render($tokens, $context, $escape, 0);
        } elsif ($tag =~ /^table (\S+)$/) {
            $text .= table(value($1, $context), $escape) if $shown;
        } elsif ($tag =~ /^[\w.]+$/) {
            $text .= $escape->(value($tag, $context)) if $shown;
        } else {
            die "{{$tag}} is nothing that this renderer knows\n";
        }
    }
    return $text;
}

sub rendered {
    my ($name, $data, $escape) = @_;
    my @tokens = grep { length } split /(\{\{.*?\}\})/s, template($name);
    return render(\@tokens, $data, $escape, 1);
}

sub plain { return $_[0] }
sub html { my ($text) = @_; my %name = ('&' => 'amp', '<' => 'lt', '>' => 'gt', '"' => 'quot', "'" => '#x27'); $text =~ s/([&<>"'])/&$name{$1};/g; return $text }

my $text = rendered('body.txt', message(), \&plain);
if ($ENV{UPDATE}) {
    open(my $file, '>:utf8', $golden) or die "$golden: $!";
    print $file $text;
    close($file) or die "$golden: $!";
}
is($text, slurp($golden), "$golden (UPDATE=1 writes it anew)");
is(rendered('subject.txt', message(), \&plain), message()->{subject}, 'the subject is the subject, without a line end, which PVE shows as a blank');

my @alone = grep { /^\s*\{\{[#\/][^}]*\}\}\s*$/ } split /\n/, template('body.txt');
is_deeply(\@alone, [], 'no line of a text is only a tag, which PVE 8.4 would show as an empty line');

my $document = rendered('body.html', message(), \&html);
like($document, qr{&lt;script&gt;}, 'nothing of a report is HTML');
like($document, qr{<li style="white-space: pre-line"><b>guest 105 db</b>: [^<]*\n +[^<]*</li>}, 'lines of an entry stay lines');

my $nobody = message();
$nobody->{guests}{data} = [];
for my $name (['body.txt', \&plain], ['body.html', \&html]) {
    unlike(rendered($name->[0], $nobody, $name->[1]), qr/Stored/, "$name->[0] has no table where there are no guests");
}
my $nothing = { %$nobody, sections => [] };
is(rendered('body.txt', $nothing, \&plain), "$nothing->{about}\n", 'where there is nothing to say the text is one line');
done_testing();
