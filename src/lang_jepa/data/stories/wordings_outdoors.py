"""Wordings of the stories that happen outdoors: garden, storm, fishing.

Notation: see ``wordings.py``.
"""

TABLE = """
== grow.plan o A x
{A} <wanted|planned|decided> to <grow|plant> {nx} behind the house.
{A} <bought|got|found> <a bag of|some> seeds for {nx}.
{A} <dreamed of|thought of> a garden full of {nx}.
{A} had <a small garden|seeds> and <wanted|needed> {nx}.
{A} <sowed|planted> {nx} in <long|straight> rows.
{A} <pressed|dropped> seeds of {nx} into the <earth|soil>.
behind {As} house there <was|would be> a bed for {nx}.
it was time to <plant|sow> {nx}, {A} <said|thought>.
for {nx}, {A} <chose|found> the best corner of the garden.
! {A} decided to sow {nx} in the garden.
! {A} got seeds and planted {nx}.
== grow.dig tm A
{A} <dug|turned> the <earth|soil> with <a spade|an old fork>.
{A} <pulled|tore> <weeds|roots|stones> out of the <earth|soil>.
{A} <carried|pushed> <ten|five> loads of <earth|manure|sand> to the bed.
the <earth|soil> was <hard|dry|full of stones>, and {A} <dug|sweated>.
{A} <raked|loosened> the <earth|soil> around the <bed|roots>.
<blisters|dirt|earth> <covered|burned on> {As} hands after the digging.
{A} <knelt|worked> in the <dirt|soil> <all {d}|for hours>.
a <worm|mole> <crawled|came> out of the <earth|soil> as {A} dug.
{As} <spade|fork> <hit|struck> a <big|round> stone.
! {A} knelt and pulled stones out of the bed.
! with a spade, {A} loosened the hard soil.
== grow.water tm A x
{A} <watered|sprayed> {x} <every morning|twice a day|with care>.
{A} <carried|fetched> a bucket of water to {x}.
the <soil|earth> around {x} was <dry|dusty>, so {A} <watered it|fetched water>.
{A} <filled|lifted> the watering can for {x}.
{x} <needed|got|drank> a lot of water.
{A} <sang|talked> to {x} while <watering|raking>.
{A} <put|gave> <some |>manure <on|to> {x}.
little <leaves|buds> <appeared|opened> on {x}.
{x} <grew|climbed> <quickly|a little every day|higher and higher>.
! {A} fetched a can of water for {x}.
! {x} grew, for {A} watered them with care.
== grow.pest t A x y
{y} <ate|attacked|damaged> {x} <in the night|one after the other|>.
{A} <found|saw|noticed> {ny} <on|between> {x}.
there were <holes|bites> in {x} because of {y}.
{ny} <had come|came> <in the night|from all sides> and <eaten|tasted> {x}.
{A} <counted|discovered> <twenty|fifty> {ny} <on|among> {x}.
half of {x} <was gone|were eaten>, and {y} <looked fat|came back>.
{y} <loved|liked> {x} <even more than {A} did|very much>.
{A} <shook {his} fist at|cursed|hated> {y} that <ate|bit> {x}.
the garden <was full of|belonged to> {ny}.
! {A} found {ny} that had eaten half of {x}.
! {y} came in the night and damaged {x}.
== grow.fence tm A y
{A} <built|put up> a <fence|net> against {y}.
{A} <set|built> a <trap|scarecrow> for {y}.
{A} <chased|drove|frightened> {y} away <with a broom|with a pot and a spoon|>.
{A} <collected|picked> {y} one by one <into a bucket|by hand|>.
a <scarecrow|cat> <was to|would> keep {y} away.
{A} <spread|covered> everything with a net <because of|against> {y}.
{A} <stayed|kept> awake to <catch|drive away> {y}.
<garlic|pepper|soap> would <keep away|stop> {y}, {A} <said|thought>.
{A} <borrowed|got> a <cat|dog> to <chase|catch> {y}.
! {A} built a scarecrow to drive away {y}.
! a net would stop {y}, {A} said.
== grow.harvest t A x
{A} <picked|cut|gathered> {x} <in the morning|with both hands|into a basket>.
there were <so many|hundreds of> {nx} <this year|in the garden>.
{A} <filled|brought> <three|two> <baskets|buckets> with {nx}.
{x} were <big|ripe|splendid> and <smelled|looked> wonderful.
{A} <took|made> a photo of {x}.
never had {A} <seen|grown> <such|finer> {nx}.
{x} of {A} were the <best|finest|biggest> in the street.
{A} <admired|counted> {x} <in the sun|with pride|one by one>.
the garden was <full of|bright with> <ripe|splendid> {nx}.
! {A} gathered ripe {nx} in two buckets.
! {A} picked {x}, and they were the finest in the village.
== grow.wither t A x
{x} <withered|dried up|died> <in a week|one by one|>.
{A} <found|saw> {x} <withered|brown|dead> on the ground.
nothing was left of {x}.
the leaves of {x} <turned|became|were> <brown|yellow|black>.
{A} <pulled|dug> the dead {nx} out of the <earth|soil>.
not <one|a single one> of {x} <survived|was saved>.
{x} <hung|bent> their heads and <died|withered>.
the bed of {x} was <empty|bare|ruined>.
{A} had to <throw|give> up {x}.
! {A} saw brown leaves, for {x} had died.
! {x} were dead, and the bed was bare.
== grow.share tm A B x
{A} <gave|brought|carried> {Bo} a basket of {nx}.
{A} <shared|divided> {x} with <|{his} {r} >{Bn}.
{B} <got|received> the <first|best|last> {nx} from {A}.
<|{his} {r} >{Bn} <smelled|admired|praised> {x} <at the fence|on the table|>.
{A} <put|left> {nx} at {Bs} door.
{B} <asked|begged> {Ao} for <some {nx}|seeds of {x}>.
with {nx} in both hands, {A} <visited|surprised> {Bo}.
how <beautiful|fine>, said {Bn} about {x}.
{B} <took|carried> {x} home from {As} garden.
! {B} praised {x} that {A} had shared.
! {A} left a basket of {nx} at {Bs} door.
== storm.news o A x
the radio <warned|told> {Ao} of a <heavy|big|terrible> storm.
a storm was <coming|near>, and {A} <feared|thought> for {x}.
{A} <heard|read> about a <big|terrible|coming> storm and <thought of|worried about> {x}.
<black|dark> clouds <rose|gathered> over the farm of {A}.
{A} <saw|noticed> <lightning|dark clouds> far away and <called|counted> {x}.
{A} <smelled|felt> the storm before {x} did.
all the neighbors <warned|told> {Ao} of the storm.
{x} of {A} <felt|smelled> the storm and were <restless|nervous>.
{A} <lived|stood> alone on the farm with {x} when the storm came near.
! {A} heard of a terrible storm and feared for {x}.
! dark clouds rose, and {A} thought of {x}.
== storm.secure tm A x
{A} <drove|led|brought> {x} <into the barn|to safety|under a roof>.
{A} <locked|shut> {x} in the <barn|stable>.
{A} <counted|called|fed> {x} <and closed the gate|in the barn|twice>.
{x} <ran|crowded> into the barn <one after the other|behind {A}|>.
{A} <whistled|shouted> for {x} <in the field|until they came>.
{A} <carried|spread> <straw|hay> <into the barn |>for {x}.
{A} <chased|pushed|pulled> {x} through the <gate|barn door>.
{x} did not want to <go inside|leave the field>.
{A} <tied|nailed> the door of the barn for {x}.
! {A} led {x} through the gate into the stable.
! {A} closed the barn, where {x} were safe.
== storm.break t A
~< near {p}| by {p}|>
<thunder|lightning> <shook|lit up> the <house|sky|valley>.
the storm <broke|began> <with a clap of thunder|in the middle of the night|at last>.
<hail|thunder> <drummed|rolled> <on the roof|over the hills>.
{A} <jumped|trembled> at <every|a> clap of thunder.
{A} <counted|waited> the seconds between <lightning|flash> and thunder.
a flash <struck|split> a tree <near the house|on the hill>.
the storm <raged|roared> <over the farm|all night|for hours>.
the <whole |>house <creaked|shook|groaned> in the storm.
{A} <shut|nailed> the <windows|shutters> as it <thundered|began to hail>.
! hail and thunder shook the house.
! {A} trembled when lightning struck a tree.
== storm.dark t A
the lights <went out|failed> <in the whole valley|all at once|>.
{A} <lit|searched for|found> <a candle|three candles|an old lantern>.
it was <dark|black> in the <house|kitchen> without <power|a lamp>.
{A} <sat|waited> in the dark <with a candle|under a blanket>.
the <power|telephone> was <dead|cut off>.
{A} <felt|found> {his} way along the wall <in the dark|to the stairs>.
only a candle <lit|brightened> the room where {A} <sat|waited>.
<shadows|candlelight> <danced|moved> on the walls.
{A} <read|told {himself}> stories by candlelight.
! {A} waited in the dark kitchen with a lantern.
! the power failed, and {A} felt {his} way to a candle.
== storm.damage t A y
~< near {p}| by {p}|>
the storm <tore|ripped> off <half of|a part of> {y}.
{A} <found|saw> that {y} was <broken|smashed|torn away>.
a tree <fell|crashed> on {y}.
{y} <fell|crashed> <down|to the ground> with a <bang|crash>.
{y} had not <survived|stood> the storm.
there was a <big |>hole in {y}.
pieces of {y} <lay|flew> <all over|across> the <yard|field>.
{A} <looked|stared> at what was left of {y}.
the <worst|greatest> damage was to {y}.
! {A} saw pieces of {y} on the ground.
! a tree had smashed {y} in the storm.
== storm.escape t A x
{x} <had run|ran> <away|off> <in the storm|into the forest|through a hole>.
the barn was empty, and {x} were <gone|lost>.
{A} <found|saw> the barn <open|empty> without {x}.
two of {x} were <missing|hurt>.
{A} <called|searched> for {x} <in vain|for hours|in the hills>.
the thunder had <frightened|driven> {x} away.
{A} <followed|found> the <tracks|prints> of {x} <to the hills|in the mud>.
where were {x}, {A} <cried|shouted>.
{x} had <broken|jumped over> the <gate|door>.
! {x} ran to the hills because the thunder frightened them.
! {A} followed tracks, but {x} were gone.
== storm.safe t A x
{x} were <safe|unhurt|calm> and <ate|asked for> <hay|straw|breakfast>.
not one of {x} was <hurt|missing|lost>.
{A} <opened|unlocked> the barn, and {x} were <safe|all there>.
{x} <greeted|welcomed> {Ao} with <noise|hungry eyes>.
{A} <counted|stroked|fed> {x}, and all were <there|well>.
{x} had <slept|slept through|survived> the storm <in the straw|>.
{A} <let|led> {x} out <to the field|into the fresh air>.
{x} <ran|jumped> over the wet <grass|field> <again|behind {A}>.
nothing had happened to {x}.
! {A} fed {x}, and not one was missing.
! {x} greeted {Ao}, safe and hungry.
== storm.mend tm A B y
{A} and <|{his} {r} >{Bn} <repaired|mended> {y} <with boards|in two days|together>.
{B} <helped|showed> {Ao} to <repair|mend> {y}.
{B} <came with|brought> boards and <nails|a ladder> for {y}.
{A} <nailed|put> <boards|planks> <on|over> {y}.
{B} <held|carried> the ladder while {A} <repaired|mended> {y}.
{A} <paid|asked> {Bo} to <mend|repair> {y}.
{y} was <soon |>as <strong|good> as before.
{A} <painted|finished> {y} with <|{his} {r} >{Bn}.
{A} <hit|hurt> {his} thumb while <mending|nailing> {y}.
! {B} and {A} nailed boards over {y}.
! {A} mended {y} with planks from {Bo}.
== fish.plan o A p x
{A} <wanted|planned|hoped> to <catch|fish for> {ax} at {p}.
{A} <took|carried> {his} rod to {p} <to catch|for> {ax}.
{A} <went|set off|walked> to {p} with a <rod|fishing rod>.
it was a good day for {nx} at {p}, {A} <said|thought>.
{A} <dreamed|thought> of {ax} in {p}.
there were {nx} in {p}, and {A} <wanted|had to catch> one.
{A} <had|bet> all {his} money on {ax} from {p}.
{As} grandfather once caught {ax} in {p}.
at {p}, {A} <put up|opened> a <chair|stool> to fish for {nx}.
! {A} set off to fish for {ax} at {p}.
! {A} hoped for {ax} and took a rod to {p}.
== fish.bait tm A y
{A} <put|stuck|fixed> {ny} on the hook.
{A} <used|tried|took> {ny} as bait.
{A} <dug for|bought|brought> {ny} for bait.
for bait there <was|would be> {ny}, {A} <said|thought>.
{A} <threw|cast> the line <far |>out with {ny} on it.
{A} <opened|shook> a <box|tin> of {ny}.
{A} <believed in|swore by> {ny} as bait.
a <bit|piece> of {ny} <hung|was> on {As} hook.
fish <love|like> {ny}, {A} <said|thought>.
! {A} cast the line with a bit of {ny}.
! {A} fixed bait to the hook from a tin of {ny}.
== fish.wait t A p
the <float|line> did not move <on {p}|for an hour|at all>.
{A} <watched|stared at> the float <in|on> {p}.
{A} <sat|waited> <by|at> {p} <without a bite|with a sandwich>.
the water of {p} was <calm|still|like glass>.
no fish in {p} <wanted|touched> the bait.
{A} <whistled|hummed> and <watched|counted> the ducks on {p}.
{A} <changed|checked> the hook and <cast|threw> again.
a <frog|duck|boat> on {p} <disturbed|amused> {Ao}.
{p} <shone|lay> <still|quiet|empty>, and nothing <bit|moved>.
! {A} sat by {p}, but no fish touched the hook.
! {A} watched the still water of {p}.
== fish.bite t A
the float <went under|jumped|danced>, and {A} <pulled|held tight>.
something <heavy|strong> <pulled|tugged> at the line.
{A} <felt|noticed> a <strong|sudden> <tug|pull> at the rod.
the rod <bent|shook> in {As} hands.
a bite, {A} <shouted|cried|whispered>.
{A} <held|gripped> the rod with both hands and <pulled|fought>.
the line <ran|hissed> through the water <like mad|with a splash|>.
{A} <fought|struggled> with the <line|rod> for <ten|twenty> minutes.
<suddenly|all at once>, the line was <tight|heavy>.
! {A} gripped the rod, for something tugged.
! the float danced, and the rod bent.
== fish.catch t A x
{A} <caught|landed|pulled out> {x}.
{x} <lay|jumped> <in the net|on the grass|in the bucket>.
{A} <lifted|held> {x} out of the water.
what a <big|fat|splendid> {nx}!
{x} was as long as {As} <arm|leg>.
{A} <weighed|measured> {x} and <whistled|cheered>.
with <a net|both hands>, {A} <landed|caught> {x}.
{x} <fought|splashed> but ended in {As} net.
{A} <held|raised> up {x} <with pride|for a photo>.
! {A} landed {x} with a net.
! {x} lay in {As} bucket, big and fat.
== fish.escape t A x
{x} <slipped|jumped> <off the hook|back into the water|out of the net>.
the line <broke|snapped>, and {x} <swam away|was gone>.
{A} <lost|let go of> {x} <at the last moment|beside the boat>.
{x} was <too|much too> <strong|clever|quick> for {Ao}.
{A} <saw|watched> {x} <swim away|disappear in the deep water>.
{x} <splashed|dived> and <was never seen again|took the hook with it>.
with a <splash|jump>, {x} <got free|escaped>.
instead of {x}, {A} <caught|pulled out> an old <boot|shoe>.
{A} <fell|slid> into the water, and {x} got away.
! {x} swam away because the line snapped.
! {A} saw how {x} slipped into the deep water.
== fish.free tm A x
{A} <let|set> {x} free <again|with a smile|>.
{A} <put|threw> {x} back <into the water|>.
{A} <looked|stared> into the eyes of {x} and <opened the net|put it back>.
swim away, {A} <said|whispered> to {x}.
{x} was too <beautiful|young> to <be eaten|kill>, {A} <thought|said>.
{A} <freed|took> {x} from the hook <and wished it luck|carefully>.
{A} could not <kill|eat> {x}.
{x} <swam|went> back <home|to its family>.
{A} <opened|lowered> the net, and {x} was free.
! {A} put {x} back, for it was too young.
! {A} freed {x} and watched it swim home.
== fish.eat tm A B x
{A} <fried|grilled|cooked> {x} <for {Bo} |>over a fire.
{A} and <|{his} {r} >{Bn} <ate|shared> {x} <with lemon|by the fire|>.
{B} <cleaned|cooked|fried> {x} for {Ao}.
there was {nx} for dinner, and {B} <came|was invited>.
{B} <praised|tasted> {x} <with butter|from the pan|>.
{A} <gave|brought> {Bo} {x} for the <pan|kitchen>.
{x} <tasted|smelled> of <smoke|lemon|butter> and {B} <ate|smiled>.
{A} <left|kept> <half of|the best part of> {x} for {Bo}.
nothing but <bones|the head> was left of {x}.
! {A} and {B} ate {x} from the pan.
! {B} fried {x} with butter over the fire.
"""
