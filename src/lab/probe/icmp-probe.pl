# Sends ICMP echo requests at a fixed pace and measures the gaps between the answers.
#
#   perl icmp-probe.pl ADDRESS INTERVAL GAP READY
#
# ADDRESS: IPv4 or IPv6; INTERVAL: milliseconds between requests; GAP: milliseconds, longer gaps are told;
# READY: milliseconds within which the first answer must come.
# Prints JSON lines (see messages.ts). Ends with the result at the line "stop" on standard input, and at once when
# that is closed. "ping" spins on a processor at intervals below 10 ms; this sleeps. Needs perl-base only.
use strict;
use warnings;
use POSIX ();
use Socket qw(AF_INET AF_INET6 SOCK_RAW MSG_DONTWAIT inet_pton pack_sockaddr_in pack_sockaddr_in6);

my ($address, $interval_ms, $gap_ms, $ready_ms) = @ARGV;
die "usage: icmp-probe.pl ADDRESS INTERVAL GAP READY\n" unless defined $ready_ms;
my $six = $address =~ /:/;
my $packed = inet_pton($six ? AF_INET6 : AF_INET, $address) // fail("$address is not an address");
my ($family, $protocol, $request_type, $answer_type) = $six ? (AF_INET6, 58, 128, 129) : (AF_INET, 1, 8, 0);
my $peer = $six ? pack_sockaddr_in6(0, $packed) : pack_sockaddr_in(0, $packed);

# System call numbers: perl-base has no Time::HiRes.
my %calls = (x86_64 => 228, aarch64 => 113);
my $CLOCK_GETTIME = $calls{ (POSIX::uname())[4] } // fail('no system call numbers for this machine');
my ($REALTIME, $MONOTONIC) = (0, 1);

sub fail {
  my ($why) = @_;
  $why =~ s/["\\\n]/ /g;
  print qq({"type":"failed","why":"$why"}\n);
  exit 1;
}

sub clock_ms {
  my ($clock) = @_;
  my $time = "\0" x 16;
  syscall($CLOCK_GETTIME, $clock, $time) == 0 or fail("clock: $!");
  my ($seconds, $nanos) = unpack 'qq', $time;
  return $seconds * 1000 + $nanos / 1e6;
}

# Epoch milliseconds that do not jump.
my $offset = clock_ms($REALTIME) - clock_ms($MONOTONIC);
sub now_ms { return $offset + clock_ms($MONOTONIC) }

# The Internet checksum; for IPv6 the kernel puts it in.
sub checksum {
  my $sum = 0;
  $sum += $_ for unpack 'n*', $_[0];
  $sum = ($sum >> 16) + ($sum & 0xffff) while $sum >> 16;
  return ~$sum & 0xffff;
}

sub request {
  my ($id, $sequence) = @_;
  my $body = pack 'nn a48', $id, $sequence & 0xffff, 'shadowferry';
  my $sum = $six ? 0 : checksum(pack('CCn', $request_type, 0, 0) . $body);
  return pack('CCn', $request_type, 0, $sum) . $body;
}

$| = 1;
socket my $socket, $family, SOCK_RAW, $protocol or fail("raw socket: $!");
eval { setpriority 0, 0, -10 };    # only root may; its lateness is told along
my $id = $$ & 0xffff;
my $watched = '';
vec($watched, $_, 1) = 1 for 0, fileno $socket;

my ($sequence, $answered, $longest, $late, $commands) = (0, 0, 0, 0, '');
my $last;
my $start = now_ms();
my $next = $start;

sub note_gap {
  my ($to, $ended) = @_;
  my $ms = $to - $last;
  $longest = $ms if $ms > $longest;
  printf qq({"type":"gap","startMs":%.3f,"ms":%.3f,"ended":%s}\n), $last, $ms, $ended if $ms > $gap_ms;
}

while (1) {
  my $now = now_ms();
  if ($now >= $next) {
    my $behind = $now - $next;
    $late = $behind if $answered && $behind > $late;
    # A network that is away refuses: that is what is measured, not an error.
    send $socket, request($id, $sequence++), MSG_DONTWAIT, $peer;
    $next += $interval_ms * (1 + int($behind / $interval_ms));    # what was missed is not made up for
    fail("no answer from $address within $ready_ms ms") if !$answered && $now - $start > $ready_ms;
  }
  my $wait = ($next - now_ms()) / 1000;
  my $ready = $watched;
  my $found = select $ready, undef, undef, $wait > 0 ? $wait : 0;
  next if $found <= 0;
  if (vec $ready, 0, 1) {
    exit 0 unless sysread STDIN, $commands, 4096, length $commands;
    if ($commands =~ /^stop$/m) {
      # Some answers are always under way: only what is longer than a gap counts as one that has not ended.
      my $end = now_ms();
      note_gap($end, 'false') if $answered && $end - $last > $gap_ms;
      printf qq({"type":"result","longestGapMs":%.3f,"lateMs":%.3f}\n), $longest, $late;
      exit 0;
    }
  }
  next unless vec $ready, fileno $socket, 1;
  while (defined recv $socket, my $packet, 2048, MSG_DONTWAIT) {
    my $header = $six ? 0 : 4 * (ord($packet) & 0x0f);
    next if length $packet < $header + 8;
    my ($type, undef, undef, $its_id) = unpack 'CCnn', substr $packet, $header, 8;
    next unless $type == $answer_type && $its_id == $id;
    my $at = now_ms();
    note_gap($at, 'true') if $answered;
    print qq({"type":"ready"}\n) unless $answered;
    ($last, $answered) = ($at, 1);
  }
}
