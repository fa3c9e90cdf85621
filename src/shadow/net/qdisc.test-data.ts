/** What `tc -j -d qdisc show` printed in a Debian 12 guest (iproute2 6.1) after each configuration. */
export const QDISCS: readonly { configured: string; printed: string }[] = [
  {
    configured: 'fq',
    printed:
      '{"kind":"fq","handle":"5:","root":true,"refcnt":2,"options":{"limit":10000,"flow_limit":100,"buckets":1024,"orphan_mask":1023,"quantum":3028,"initial_quantum":15140,"low_rate_threshold":68750,"refill_delay":40000,"timer_slack":10000,"horizon":10000000,"horizon_drop":null}}',
  },
  {
    configured:
      'fq limit 5000 flow_limit 50 quantum 3000 initial_quantum 12000 maxrate 1gbit nopacing low_rate_threshold 1mbit refill_delay 20ms timer_slack 20us horizon 5s horizon_cap orphan_mask 511 buckets 512 ce_threshold 4ms',
    printed:
      '{"kind":"fq","handle":"5:","root":true,"refcnt":2,"options":{"limit":5000,"flow_limit":50,"buckets":512,"orphan_mask":511,"pacing":false,"quantum":3000,"initial_quantum":12000,"maxrate":125000000,"low_rate_threshold":125000,"refill_delay":20000,"ce_threshold":4000,"timer_slack":20000,"horizon":5000000,"horizon_cap":null}}',
  },
  {
    configured: 'fq_codel',
    printed:
      '{"kind":"fq_codel","handle":"5:","root":true,"refcnt":2,"options":{"limit":10240,"flows":1024,"quantum":1514,"target":4999,"interval":99999,"memory_limit":33554432,"ecn":true,"drop_batch":64}}',
  },
  {
    configured:
      'fq_codel limit 2000 flows 512 target 7ms interval 120ms noecn memory_limit 8Mb drop_batch 32 ce_threshold 3ms quantum 300',
    printed:
      '{"kind":"fq_codel","handle":"5:","root":true,"refcnt":2,"options":{"limit":2000,"flows":512,"quantum":300,"target":6999,"ce_threshold":2999,"interval":119999,"memory_limit":8388608,"drop_batch":32}}',
  },
  {
    configured: 'codel',
    printed:
      '{"kind":"codel","handle":"5:","root":true,"refcnt":2,"options":{"limit":1000,"target":4999,"interval":99999}}',
  },
  {
    configured: 'codel limit 500 target 3ms interval 70ms ecn ce_threshold 2ms',
    printed:
      '{"kind":"codel","handle":"5:","root":true,"refcnt":2,"options":{"limit":500,"target":2999,"ce_threshold":1999,"interval":69999,"ecn":true}}',
  },
  {
    configured: 'pfifo',
    printed: '{"kind":"pfifo","handle":"5:","root":true,"refcnt":2,"options":{"limit":1000}}',
  },
  {
    configured: 'pfifo limit 333',
    printed: '{"kind":"pfifo","handle":"5:","root":true,"refcnt":2,"options":{"limit":333}}',
  },
  {
    configured: 'bfifo limit 333000',
    printed: '{"kind":"bfifo","handle":"5:","root":true,"refcnt":2,"options":{"limit":333000}}',
  },
  {
    configured: 'pfifo_fast',
    printed:
      '{"kind":"pfifo_fast","handle":"5:","root":true,"refcnt":2,"options":{"bands":3,"priomap":[1,2,2,2,1,2,0,0,1,1,1,1,1,1,1,1],"multiqueue":false}}',
  },
  {
    configured: 'sfq',
    printed:
      '{"kind":"sfq","handle":"5:","root":true,"refcnt":2,"options":{"limit":127,"quantum":1514,"depth":127,"flows":128,"divisor":1024}}',
  },
  {
    configured: 'sfq perturb 10 limit 100 quantum 3000 depth 50 divisor 512 headdrop',
    printed:
      '{"kind":"sfq","handle":"5:","root":true,"refcnt":2,"options":{"limit":100,"quantum":3000,"depth":50,"headdrop":true,"flows":100,"divisor":512,"perturb":10}}',
  },
  {
    configured: 'sfq limit 1000 redflowlimit 100000 min 8000 max 60000 probability 0.2 ecn',
    printed:
      '{"kind":"sfq","handle":"5:","root":true,"refcnt":2,"options":{"limit":1000,"quantum":1514,"depth":127,"flows":128,"divisor":1024,"ewma":6,"min":8000,"max":60000,"probability":0.2,"ecn":true,"harddrop":false,"adaptive":false,"nodrop":false}}',
  },
  {
    configured: 'tbf rate 10mbit burst 32k latency 50ms',
    printed:
      '{"kind":"tbf","handle":"5:","root":true,"refcnt":2,"options":{"rate":1250000,"burst":"32Kb/1","mpu":0,"lat":50000,"linklayer":"ethernet"}}',
  },
  {
    configured: 'tbf rate 123kbit burst 1500 limit 30000 peakrate 1mbit minburst 1540',
    printed:
      '{"kind":"tbf","handle":"5:","root":true,"refcnt":2,"options":{"rate":15375,"burst":"1499b/1","mpu":0,"mtu":"1540b/1","mpu":0,"lat":1853659,"linklayer":"ethernet"}}',
  },
  {
    configured: 'prio',
    printed:
      '{"kind":"prio","handle":"5:","root":true,"refcnt":2,"options":{"bands":3,"priomap":[1,2,2,2,1,2,0,0,1,1,1,1,1,1,1,1],"multiqueue":false}}',
  },
  {
    configured: 'prio bands 4 priomap 1 2 3 3 1 2 0 0 1 1 1 1 1 1 1 1',
    printed:
      '{"kind":"prio","handle":"5:","root":true,"refcnt":2,"options":{"bands":4,"priomap":[1,2,3,3,1,2,0,0,1,1,1,1,1,1,1,1],"multiqueue":false}}',
  },
  {
    configured: 'htb default 10 r2q 20',
    printed:
      '{"kind":"htb","handle":"5:","root":true,"refcnt":2,"options":{"r2q":20,"default":"0x10","direct_packets_stat":0,"ver":"3.17","direct_qlen":1000}}',
  },
  {
    configured: 'netem delay 10ms',
    printed:
      '{"kind":"netem","handle":"5:","root":true,"refcnt":2,"options":{"limit":1000,"delay":{"delay":0.01,"jitter":0,"correlation":0},"ecn":false,"gap":0}}',
  },
  {
    configured: 'netem delay 10ms 2ms 25% loss 1% 20% duplicate 0.5% limit 500',
    printed:
      '{"kind":"netem","handle":"5:","root":true,"refcnt":2,"options":{"limit":500,"delay":{"delay":0.01,"jitter":0.002,"correlation":0.25},"loss-random":{"loss":0.01,"correlation":0.2},"duplicate":{"duplicate":0.005,"correlation":0},"ecn":false,"gap":0}}',
  },
  {
    configured: 'netem delay 20ms 3ms distribution normal',
    printed:
      '{"kind":"netem","handle":"5:","root":true,"refcnt":2,"options":{"limit":1000,"delay":{"delay":0.02,"jitter":0.003,"correlation":0},"ecn":false,"gap":0}}',
  },
  {
    configured: 'netem delay 10ms reorder 25% 50% gap 5',
    printed:
      '{"kind":"netem","handle":"5:","root":true,"refcnt":2,"options":{"limit":1000,"delay":{"delay":0.01,"jitter":0,"correlation":0},"reorder":{"reorder":0.25,"correlation":0.5},"ecn":false,"gap":5}}',
  },
  {
    configured: 'netem corrupt 0.1% rate 5mbit',
    printed:
      '{"kind":"netem","handle":"5:","root":true,"refcnt":2,"options":{"limit":1000,"corrupt":{"corrupt":0.001,"correlation":0},"rate":{"rate":625000,"packetoverhead":0,"cellsize":0,"celloverhead":0},"ecn":false,"gap":0}}',
  },
  {
    configured: 'netem rate 5mbit 10 20 3',
    printed:
      '{"kind":"netem","handle":"5:","root":true,"refcnt":2,"options":{"limit":1000,"rate":{"rate":625000,"packetoverhead":10,"cellsize":20,"celloverhead":3},"ecn":false,"gap":0}}',
  },
  {
    configured: 'netem loss gemodel 1% 10% 70% 0.1%',
    printed:
      '{"kind":"netem","handle":"5:","root":true,"refcnt":2,"options":{"limit":1000,"loss-gemodel":{"p":0.01,"r":0.1,"1-h":0.7,"1-k":0.001},"ecn":false,"gap":0}}',
  },
  {
    configured: 'netem loss 2% ecn',
    printed:
      '{"kind":"netem","handle":"5:","root":true,"refcnt":2,"options":{"limit":1000,"loss-random":{"loss":0.02,"correlation":0},"ecn":true,"gap":0}}',
  },
  {
    configured: 'red limit 400000 min 30000 max 90000 avpkt 1000 burst 55',
    printed:
      '{"kind":"red","handle":"5:","root":true,"refcnt":2,"options":{"limit":400000,"min":30000,"max":90000,"ecn":false,"harddrop":false,"adaptive":false,"nodrop":false,"ewma":5,"probability":0.02,"Scell_log":15}}',
  },
  {
    configured: 'cake bandwidth 10mbit',
    printed:
      '{"kind":"cake","handle":"5:","root":true,"refcnt":2,"options":{"bandwidth":1250000,"diffserv":"diffserv3","flowmode":"triple-isolate","nat":false,"wash":false,"ingress":false,"ack-filter":"disabled","split_gso":true,"rtt":100000,"raw":true,"overhead":0,"fwmark":"0"}}',
  },
  {
    configured: 'pie',
    printed:
      '{"kind":"pie","handle":"5:","root":true,"refcnt":2,"options":{"limit":1000,"target":15000,"tupdate":16000,"alpha":2,"beta":20}}',
  },
];
