# Carries Ethernet frames between two taps with a fixed delay, for kernels that have no sch_netem.
#
#   perl delay-line.pl NETNS-A TAP-A NETNS-B TAP-B DELAY QUEUE
#
# NETNS: the pinned namespace's file; TAP: the interface to make there; DELAY: microseconds; QUEUE: bytes that may
# be on the way in each direction, above which frames are dropped. Prints "ready" when both taps exist. Each line on
# standard input, "DELAY QUEUE", changes both. Ends when standard input does; the taps vanish with it.
# Needs perl-base only. Large (GSO) frames pass whole: their virtio header goes along.
use strict;
use warnings;
use Errno qw(EAGAIN EINTR EIO);
use Fcntl qw(O_RDWR O_NONBLOCK);
use POSIX ();

my ($netns_a, $tap_a, $netns_b, $tap_b, $delay_us, $queue) = @ARGV;
die "usage: delay-line.pl NETNS-A TAP-A NETNS-B TAP-B DELAY QUEUE\n" unless defined $queue;
my $delay = $delay_us / 1e6;

# System call numbers: perl-base has neither Time::HiRes nor setns.
my %calls = (x86_64 => [308, 228], aarch64 => [268, 113]);
my $machine = (POSIX::uname())[4];
my ($SETNS, $CLOCK_GETTIME) = @{ $calls{$machine} // die "no system call numbers for $machine\n" };
my ($TUNSETIFF, $TUNSETOFFLOAD) = (0x400454ca, 0x400454d0);
my ($IFF_TAP, $IFF_NO_PI, $IFF_VNET_HDR) = (0x0002, 0x1000, 0x4000);
my $OFFLOADS = 0x01 | 0x02 | 0x04;    # checksum, TSO for IPv4, TSO for IPv6
my $MONOTONIC = 1;
my $BATCH = 64;                       # frames taken from one side before the other side and the clock are looked at
my $LARGEST = 10 + 14 + 4 + 65536;

sub now {
  my $time = "\0" x 16;
  syscall($CLOCK_GETTIME, $MONOTONIC, $time) == 0 or die "clock: $!\n";
  my ($seconds, $nanos) = unpack 'qq', $time;
  return $seconds + $nanos / 1e9;
}

sub open_tap {
  my ($netns, $name) = @_;
  open my $place, '<', $netns or die "$netns: $!\n";
  syscall($SETNS, fileno $place, 0) == 0 or die "entering $netns: $!\n";
  sysopen my $tap, '/dev/net/tun', O_RDWR | O_NONBLOCK or die "/dev/net/tun: $!\n";
  my $request = pack 'a16 S x22', $name, $IFF_TAP | $IFF_NO_PI | $IFF_VNET_HDR;
  ioctl $tap, $TUNSETIFF, $request or die "making $name: $!\n";
  ioctl $tap, $TUNSETOFFLOAD, $OFFLOADS or die "offloads of $name: $!\n";
  return $tap;
}

# A late wake-up is an error in the delay; not being allowed to go first is no reason to stop.
eval { setpriority 0, 0, -10 };

my @side = map { { tap => $_, frames => [], bytes => 0, dropped => 0 } }
  open_tap($netns_a, $tap_a), open_tap($netns_b, $tap_b);
$side[0]{to} = $side[1]{tap};
$side[1]{to} = $side[0]{tap};

my $watched = '';
vec($watched, $_, 1) = 1 for 0, map { fileno $_->{tap} } @side;
my $commands = '';
$| = 1;
print "ready\n";

while (1) {
  my $now = now();
  my $next;
  for my $side (@side) {
    my $frames = $side->{frames};
    while (@$frames && $frames->[0][0] <= $now) {
      my $frame = shift @$frames;
      $side->{bytes} -= length $frame->[1];
      # EIO: the far interface is down, or its receiver is full. A wire loses the frame then, and so do we.
      syswrite $side->{to}, $frame->[1];
    }
    $next = $frames->[0][0] if @$frames && (!defined $next || $frames->[0][0] < $next);
  }
  my $wait = defined $next ? $next - now() : undef;
  $wait = 0 if defined $wait && $wait < 0;
  my $ready = $watched;
  my $found = select $ready, undef, undef, $wait;
  next if $found < 0 && $! == EINTR;
  die "select: $!\n" if $found < 0;
  next if $found == 0;

  if (vec $ready, 0, 1) {
    my $count = sysread STDIN, $commands, 4096, length $commands;
    exit 0 unless $count;
    while ($commands =~ s/\A(\d+) (\d+)\n//) { ($delay, $queue) = ($1 / 1e6, $2) }
  }
  for my $side (@side) {
    next unless vec $ready, fileno $side->{tap}, 1;
    my $due = now() + $delay;
    # Order is kept even when the delay has just become smaller.
    $due = $side->{frames}[-1][0] if @{ $side->{frames} } && $side->{frames}[-1][0] > $due;
    for (1 .. $BATCH) {
      my $count = sysread $side->{tap}, my $frame, $LARGEST;
      last unless $count;    # EAGAIN: no more; EIO: the interface is down
      if ($side->{bytes} + $count > $queue) { $side->{dropped}++; next }
      $side->{bytes} += $count;
      push @{ $side->{frames} }, [$due, $frame];
    }
  }
}
