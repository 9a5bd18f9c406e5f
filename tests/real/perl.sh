#!/bin/bash
# perl: hashes, strings, regular expressions, sort, closures, a fork and a pipe.
# timeout: 120
. tests/real/real.inc

workload() {
    real_agent perl - <<'PERL'
use strict; use warnings;
my (%h, @a);
my $x = 12345;
sub rnd { $x = ($x * 1103515245 + 12345) & 0x7fffffff; return $x }
for my $i (1 .. 100_000) { push @{ $h{ rnd() % 5003 } }, "v" . rnd() % 1000; }
for my $k (sort { $a <=> $b } keys %h) { push @a, join(",", map { s/v(\d)/w$1$1/r } sort @{ $h{$k} }); }
my $s = join "|", @a;
my $n = () = $s =~ /w(\d)\1\d*,w/g;
printf "%d keys, %d bytes, %d matches, %d\n", scalar(keys %h), length $s, $n, unpack("%32C*", $s);
my @f = map { my $i = $_; sub { $i += shift; $i } } 1 .. 1000;
my $sum = 0; $sum += $_->(7) for @f; print "$sum\n";
my %tree; for (1 .. 20000) { my $r = \%tree; $r = $r->{ $_ } //= {} for split //, rnd(); }
my $count; $count = sub { my $t = shift; my $c = 1; $c += $count->($_) for values %$t; $c }; print $count->(\%tree), "\n";
open my $p, "-|", "echo child" or die; print <$p>; close $p;
my $pid = fork // die; if (!$pid) { my @b = map { "x" x 1000 } 1 .. 1000; exit 3 } waitpid $pid, 0; print $? >> 8, "\n";
PERL
}
real_run perl workload
exit $failed
