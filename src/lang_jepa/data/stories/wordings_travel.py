"""Wordings of the stories that happen on the way: a lost thing, a journey.

Notation: see ``wordings.py``.
"""

TABLE = """
== lost.notice o A x
{A} <noticed|discovered|saw> that {his} {nx} was <gone|missing|not there>.
{A} had lost {his} {nx} <somewhere|the day before|again>.
{As} {nx} was <gone|missing|nowhere to be seen>.
{A} <reached|felt> in {his} bag, but {x} was <gone|not there>.
where was {x} of {A}?
{A} <wanted to put on|needed> {his} {nx} but could not find it.
{x} that {A} <loved|owned|got for a birthday> had <vanished|disappeared>.
{A} <woke up|came home> without {his} {nx}.
someone or something had <taken|stolen> the {nx} of {A}.
! {A} noticed that {he} had lost {his} {nx}.
! {As} {nx} had disappeared somewhere.
== lost.last t A x p
{A} had <seen|used|held> {x} last at {p}.
{A} <knew|thought> that on the day before, {x} was <still|with {him}> at {p}.
at {p}, {A} had <put|laid> {x} on a <bench|wall|chair>.
the last place with {x} was {p}, {A} <said|thought>.
{A} <went back|returned|hurried> to {p}, where {he} had last seen {x}.
{A} must have <dropped|left|forgotten> {x} at {p}.
it could only have happened <at|near> {p}, {A} <thought|said>.
<yesterday|on Sunday|last night> {A} still had {x} at {p}.
{A} <closed {his} eyes|tried to remember> and <saw|thought of> {p}.
! {A} thought that {he} had dropped {x} near {p}.
! {A} last used {x} on a bench at {p}.
== lost.search tm A x
{A} <searched|looked> <under|behind> the <bed|sofa|cupboard> for {x}.
{A} <emptied|turned out> every <drawer|bag|pocket> to find {x}.
{A} <looked|searched> <everywhere|high and low> for {x}.
{x} was not <under the bed|in the car|on the shelf|in the trash>.
{A} <crawled|knelt> on the <carpet|floor> and <looked|searched> for {x}.
{A} <turned|put> the <whole house|room> upside down for {x}.
{A} <found|saw> <two buttons|an old coin|only dust>, but not {x}.
{A} <lifted|moved> <every cushion|the carpet|the chairs> to look for {x}.
again and again, {A} <searched|checked> the same <pocket|place>.
! {A} knelt to search under the chairs for {x}.
! {A} looked in every pocket, but not one held {x}.
== lost.ask tm A x p
{A} <asked|stopped> <everyone|people|strangers> <near|at> {p} <about {x}|>.
a <clerk|guard|child> <near|at> {p} <had not seen|knew nothing of> {x}.
{A} <described|drew> {x} to the people at {p}.
at {p}, <nobody|no one> <had seen|knew anything about> {x}.
{A} <went|walked> <from door to door|from house to house> near {p}.
have you seen {ax}, {A} asked <near|at> {p}.
an old man <near|at> {p} <shook|scratched> his head.
at the <office|desk> of {p}, {A} <asked|looked> for {x}.
{A} <spoke|talked> to <a guard|some children> at {p} about {x}.
! {A} described {x} to a guard at {p}.
! no one near {p} knew where {x} was.
== lost.sign tm A x
{A} <wrote|painted|hung up> a sign about {x}.
{A} <offered|promised> a reward for {x}.
there was a <sign|drawing> of {x} on every <tree|wall|post>.
{A} <pinned|stuck> <ten|twenty> notes about {x} <to trees|on walls>.
{A} <put|placed> a note about {x} in the <newspaper|window of a shop>.
lost, {x}, {A} <wrote|printed> in big letters.
on every <post|door> <hung|was> a note with {As} number.
{A} <reported|described> {x} to the police.
for {x}, {A} <promised|offered> <fifty|thirty|twenty> coins.
! {A} hung up twenty notes with a drawing of {x}.
! {A} offered a reward on every wall.
== lost.found t A x q
{x} was <lying|found> at {q} <under a bench|behind a door|all the time>.
{A} <found|discovered|saw> {x} <at|near> {q}.
somebody had <brought|carried|taken> {x} to {q}.
near {q}, {x} <shone|lay> in the grass.
a <dog|child|stranger> had <found|dropped> {x} <at|near> {q}.
there it <was|lay>, at {q}!
{A} <jumped|shouted> for joy at {q}, for there was {x}.
{x} had been at {q} <all along|since the day before>.
someone from {q} <phoned|called>, for {x} was <there|found|safe>.
! {A} saw {x} behind a bench at {q}.
! {x} lay at {q}, found by a stranger.
== lost.gone t A x
{x} <never came back|was never found|stayed lost>.
{A} <gave up|ended|stopped> the search for {x}.
{A} <never|did not> <saw|see> {x} again.
nobody <ever |>found {x}.
{A} had to <buy|get> another {kx} <in town|next time|>.
{A} <said|whispered> goodbye to {x}.
there was <no trace|not a sign> of {x}.
{A} <bought|got> a new {kx}, but it was not the same.
{A} <accepted|knew> that {x} was <lost|gone> for good.
! {x} was gone for good, and {A} gave up.
! {A} stopped, for {x} was never found.
== go.plan o A B p y
{A} <wanted|had|needed> to bring {ay} to {Bo} in a town behind {p}.
{A} <planned|began> a <long|short> trip <to {Bo} |>with {ay}.
{Bn} <lived|worked> far away and <waited|hoped> for {ay} from {A}.
{A} had promised {Bo} {ay}, so {he} <had to travel|planned a trip>.
{A} <was to|would> <travel|go> to {Bo} <beyond|near> {p} with {ay}.
{ay} had to <travel|get> to {Bn}, and {A} <wanted|offered> to take it.
{A} <wanted|decided> to <visit|surprise> {Bo} far away with {ay}.
{Bn} <needed|asked for> {ay}, and {A} <chose|decided> to travel to {p}.
it was a long way to {Bn}, but {A} <had|wanted to bring> {ay}.
! {A} planned to travel to {Bo} with {ay}.
! {A} decided to bring {ay} to {Bo}, who lived near {p}.
== go.pack tm A y
{A} <packed|put|laid> {y} <in|into> a <suitcase|bag|box>.
{A} <wrapped|rolled> {y} in a <blanket|towel|thick sweater>.
{y} <went|was packed> <between|under> the <shirts|sweaters>.
{A} <packed|took> <two sandwiches|a bottle of water|a warm sweater> and {y}.
{A} <filled|closed> the <suitcase|bag> and <checked|thought of> {y}.
with {y}, the <suitcase|bag> was <heavy|full>.
{A} <made|found> <room|space> for {y} in the <suitcase|bag>.
{A} <tied|fixed> {y} to the <bag|suitcase> with a rope.
{A} <almost|nearly> <forgot|left> {y} on the table.
! {A} wrapped {y} and put it between the sweaters.
! {A} closed the box with {y} inside.
== go.board t A x
{A} <got on|climbed into|boarded> {x} <in time|with the others|just before noon>.
{A} <bought|paid for> a ticket and <got on|boarded> {x}.
{x} <left|departed> <on time|with a whistle|at last>.
{A} <found|took> a seat <by the window |>on {x}.
{x} was <nearly |quite |>full, but {A} <found|got> a seat.
{A} <showed|gave> the <driver|conductor> a ticket on {x}.
the doors of {x} closed <behind|in front of> {Ao}.
{A} <waved|looked> through the window of {x}.
{A} <ran|hurried> and <caught|reached> {x} <just in time|at the last moment>.
! {A} paid for a seat and climbed into {x}.
! {x} left with a whistle, and {A} waved.
== go.late t A x
{x} <stood still|stopped> <between two towns|in the middle of nowhere|for an hour>.
{x} was <late|two hours late|delayed>.
something was wrong with the <engine|motor> of {x}.
a <cow|sheep|tree> on the way <stopped|delayed> {x}.
the <driver|conductor> of {x} <apologized|shook his head> and <asked for patience|phoned>.
{A} <looked|stared> <at the clock|out> because {x} did not move.
{x} <moved|crept> as slowly as a <snail|turtle>.
{A} <missed|would miss> the next connection because of {x}.
the <people|passengers> on {x} <complained|grumbled> about the delay.
! {x} did not move because of the engine.
! {A} grumbled, for {x} was an hour late.
== go.view t A
<fields|hills|villages> and <rivers|forests|meadows> <flew|went|passed> by.
{A} <watched|saw|counted> the <fields|hills|villages> outside.
through the window {A} saw <horses|mountains|the sea|a castle>.
{A} <pressed|leaned> {his} <nose|head> against the <glass|window>.
the <valley|landscape> <became|grew> <wider|greener|wilder> with every mile.
a <rainbow|flock of geese|tall tower> <appeared|could be seen> outside.
{A} <read|opened> a newspaper but <looked out|watched the hills>.
<mile after mile|hour after hour>, the <land|country> changed.
{A} had never seen <such|so many> <mountains|forests|fields>.
! {A} leaned out and saw hills and meadows.
! the window showed {Ao} villages, rivers and a tower.
== go.stranger tm A
a <stranger|soldier|nun|student> <sat down|took a seat> <beside|next to> {Ao}.
{A} <shared|ate> {his} <sandwiches|apple> with a <stranger|student|soldier>.
an old <lady|gentleman> <told|showed> {Ao} <stories of the war|pictures of a cat>.
{A} <talked|chatted> with a <nun|soldier|student> about <life|the weather|dogs>.
{A} <played|lost> <cards|chess> <with|against> <a soldier|a student|an old lady>.
a little girl <asked|offered> {Ao} <a hundred questions|a cookie>.
the <lady|gentleman> next to {Ao} <snored|sneezed|slept>.
{A} <helped|met> an old <lady|gentleman> with a heavy <suitcase|trunk>.
a baby <cried|smiled at {Ao}> <all the way|across the seats>.
! a lady sat next to {Ao} and chatted about {his} life.
! {A} met a student who offered {him} cards.
== go.arrive t A p
{A} <arrived|got off> <at|near> {p} <at last|in the dark|in good time>.
{A} <reached|saw> {p} <before dark|after five hours|with stiff legs>.
here was {p}, and {A} <got off|stepped out>.
<behind the trees|at the end of the street> was {p}.
{A} <asked|found> the way from {p}.
last stop, {p}, <called|shouted> a voice.
{A} <stretched|rubbed> {his} legs in front of {p}.
{A} <walked|went> <straight |>past {p} with {his} bag.
the trip <ended|was over> near {p}.
! {A} got off and saw {p} at the end of the street.
! after hours, {A} reached {p} with {his} bag.
== go.deliver tm A B y
{A} <gave|handed> {Bo} {y} <with both hands|at the door|at last>.
{B} <took|received|unpacked> {y} <with joy|with tears|carefully>.
{y} <had|got> a new <owner|home>, and {B} <was|looked> happy.
{B} was <waiting|there> and <took|held> {y}.
{A} <set|laid> {y} in front of {Bo}.
{B} <held|pressed> {y} to {bhis} <chest|heart>.
here is {y}, {A} <said|called> to {Bo}.
{B} had <waited|hoped> <so long |>for {y} and <kissed|hugged> {Ao}.
{y} was <safe|whole> in {Bs} hands.
! {B} unpacked {y} with joy and hugged {Ao}.
! {A} laid {y} in {Bs} hands.
== go.broken t A B y
but {y} was <broken|lost|stolen> <on the way|in the bag|>.
{A} <opened|checked> the bag, and {y} was <broken|gone|not there>.
{A} had <left|forgotten> {y} on the seat.
{A} had to <tell|confess to> {Bo} that {y} was <lost|broken>.
{B} <looked|stared> at what was left of {y}.
{y} had <not survived|been lost on> the trip.
only <pieces|parts> of {y} were left in the bag.
{A} <found|had> <nothing|no {ny}> in the bag for {Bo}.
{B} <sighed|was silent> when {bhe} <heard|learned> about {y}.
! {A} told {Bo} that {y} was left on the seat.
! {y} was broken, and {B} was silent.
"""
