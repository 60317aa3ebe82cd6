"""Wordings of the stories that happen in or near the house: cooking, repair, illness, garden.

Notation: see ``wordings.py``.
"""

TABLE = """
== cook.plan o A B x
{A} <wanted|planned|hoped> to <cook|make|prepare> {ax} for {Bo}.
{A} decided to <please|surprise|treat> {Bo} with {ax}.
{A} had <promised|offered> to <cook|make|prepare> {ax} for {Bo}.
{A} <invited|asked> {Bo} to <dinner|supper> and <planned|chose> {ax}.
because {Bn} was <coming|hungry>, {A} <started|began> {ax}.
{A} <felt like|thought of> <cooking|making|preparing> {ax} for {Bo}.
{A} <opened|read> a cookbook and <chose|picked> {ax} for {Bo}.
since {Bn} <loved|liked|adored> {nx}, {A} <went|hurried> to the kitchen.
for {Bo}, {A} <wanted to|would> <make|cook|prepare> {ax}.
! {A} <planned|offered> to treat {Bo} to {ax}.
! {A} chose {ax} because {Bn} <liked|loved> it.
== cook.missing t A y
but there was no {ny} <left |>in the <kitchen|cupboard|house>.
{A} <discovered|noticed|found> that the {ny} <was gone|had run out>.
the <jar|tin|box> for the {ny} was <empty|quite empty>.
{A} <searched|opened> every <cupboard|shelf|drawer> for {ny}<| in vain>.
{A} had <forgotten|no money> to buy {ny} <the day before|in town>.
only the {ny} was <missing|not there>, and {A} <groaned|frowned|sighed>.
{A} <needed|wanted> {ny}, but there was <none|not a bit> <left|in the house>.
not a <spoonful|bit|trace> of {ny} was <left|to be found>.
without {ny}, {A} <could not go on|was stuck|did not know what to do>.
! {A} <groaned|sighed>, for the {ny} had run out.
! in the cupboard, {A} found everything but {ny}.
== cook.borrow tm A B y
{A} <borrowed|got> some {ny} from <|{his} {r} >{Bn}.
{A} <ran|went> <next door|across the street> and <asked|begged> for <a cup of|some> {ny}.
{Bn} <lent|gave> {Ao} <a cup of|some|a bag of> {ny}.
{B} <came|ran> over with <a bowl of|a cup of|some> {ny}.
{A} <knocked|rang> at a door and <asked|begged> {Bo} for {ny}.
{B} <had|found> enough {ny} <and shared it|for both of them|to give some away>.
{A} <called|phoned> {Bo}, who <brought|came with> some {ny}.
{B} <filled|packed> a <cup|jar|bowl> with {ny} for {Ao}.
{A} <returned|came back> with {ny} that {B} had <lent|given> {him}.
! {A} asked {Bo} for a cup of {ny}.
! {B} gave {Ao} a <jar|bowl> full of {ny}.
== cook.buy tm A y p
{A} <rushed|hurried|ran> to the shop <by|near> {p} for {ny}.
{A} <bought|got> <some|a bag of|a pound of> {ny} near {p}.
near {p}, a small shop <still |>sold {ny}.
{A} <put on|took> a coat and <bought|fetched> {ny} near {p}.
{A} <spent|paid> {his} last coins <on|for> {ny}.
{A} <stood|waited> in line <near|behind> {p} to buy {ny}.
the shop near {p} <was open|had not closed> and {A} <got|found> {ny}.
{A} <took|rode> the <bicycle|bus> to {p} to <get|buy|fetch> {ny}.
{A} came back from {p} with <a bag of|some> {ny}.
! {A} <fetched|found> some {ny} in a shop behind {p}.
! for a bag of {ny}, {A} <hurried|ran> to {p}.
== cook.mix tm A x
{A} <chopped|cut|sliced> <everything|the vegetables> <for {x} |>and <stirred|mixed> it <well|in a bowl>.
{A} <mixed|stirred> the {nx} <in a big bowl|with a wooden spoon|for ten minutes>.
{A} <washed|wiped> {his} hands and <began|started> <to mix|to stir> {x}.
{A} <put|set|slid> {x} <on the stove|over the fire|on the heat>.
{A} <lit|turned on> the <oven|stove> for {x}.
with a wooden spoon, {A} <stirred|mixed> <everything|it all> <together|for {x}>.
{A} <followed|read> the recipe for {x} <step by step|line by line|with care>.
{A} <poured|put> everything into a <bowl|pot> and <stirred|tasted> it.
a pot for {x} <was|stood> on the <stove|table>, and {A} <stirred|began>.
! {A} put everything for {x} into a big bowl.
! {A} lit the stove and <stirred|tasted> the {nx}.
== cook.burn t A x
{A} <forgot|did not watch> {x}, and it <burned|turned black>.
<black|thick|bitter> smoke <rose|came> from {x}.
{x} was <burned|black|burned to coal> <on one side|at the bottom|before anyone noticed>.
{A} <smelled|noticed> smoke, but {x} was already <black|burned|ruined>.
the kitchen was <full of|filled with> smoke from {x}.
{A} <opened|threw open> the window because {x} had burned.
it <smelled|stank> of <burned|ruined> {nx} <everywhere|in the whole house>.
{A} <pulled|took> {x} <off the heat|off the stove>, but it was <too late|ruined|black>.
{x} stayed on the fire <too long|ten minutes too long> and <burned|was ruined>.
! {A} noticed that {x} was black and smelled of smoke.
! smoke filled the kitchen, and {x} was ruined.
== cook.smell t A x
the smell of {nx} <filled|spread through|reached> <every room|the kitchen|the house>.
{x} <smelled|looked> <wonderful|delicious|better than ever>.
{A} <tasted|tried> {x} and <nodded|smiled|added some herbs>.
{A} took {x} off the <stove|heat> <just in time|at the right moment>.
{x} <was|turned out> <perfect|soft and warm|just right>.
{A} <sniffed|tasted> and <knew|found> that {x} was <ready|done|perfect>.
a <sweet|rich|delicious> smell <rose|came> from the {nx}.
golden and <hot|warm|rich>, {x} was <ready|done>.
at the first <bite|taste>, {A} <nodded|smiled>, for it was <delicious|perfect>.
! {A} <smelled|tasted> the {nx} and found it <delicious|just right>.
! {x} was ready and the whole house smelled of it.
== cook.serve tm A B x
{A} <served|brought> {x} <at once|on the best plates|on a big plate>.
{B} <sat|was already> at the table when {A} <served|brought> {x}.
{A} <carried|brought> {x} to the table, where {B} was <waiting|sitting>.
{A} and {B} <ate|shared|finished> {x} <together|by candlelight|at the table>.
{B} <ate|took> <two|three> <plates|helpings> of {nx}.
{B} <asked for|wanted> <more|a second plate> of {nx}.
dinner was <ready|served>, and {B} <tried|tasted> {x}.
{A} <set|laid> the table and <served|gave> {Bo} {x}.
{A} <gave|handed> {Bo} a <big|full|hot> plate of {nx}.
! {B} tasted {x} at the table with {Ao}.
! {A} put a plate of {nx} in front of {Bo}.
== fix.broke o A x
the {nx} of {A} <broke|stopped> <all at once|for no reason|with a loud bang>.
{As} {nx} <did not work|would not start|was broken> <any more|since the day before|>.
{A} <found|saw|noticed> that {his} {nx} <was broken|did not work>.
{A} <dropped|knocked over> {x}, and it <broke|stopped>.
something was wrong with {As} {nx}.
{A} <wanted|tried> to use {x}, but it <was broken|stopped|did not work>.
for {A}, the day <began|started> with a broken {nx}.
{A} <pulled|dragged|carried> {ax} out of the <cellar|attic|shed>, but it <was broken|did not work>.
with a <bang|crack>, {As} {nx} <broke|stopped>.
! {A} noticed something wrong with {his} {nx}.
! {As} {nx} stopped with a loud <crack|bang>.
== fix.open tm A x
{A} <opened|unscrewed> {x} and <looked|peered> inside.
{A} <took|pulled> {x} apart <piece by piece|on the table|on the floor>.
<screws|parts> of {x} <lay|rolled> <all over|across> the <table|floor>.
{A} <turned|laid> {x} upside down to <see|find> what was wrong.
{A} <cleaned|wiped> the <dust|dirt> from {x} and <looked|searched> for the trouble.
inside {x}, {A} <found|saw|discovered> a <loose|bent|rusty> <part|wire|spring>.
a <bent|loose|rusty> <part|wire|screw> inside {x} was the <cause|reason>.
{A} <examined|checked|studied> every <part|wire|screw> of {x}.
{A} <spread|laid> the parts of {x} on an old <cloth|blanket|newspaper>.
! {A} searched inside {x} for a loose <wire|screw>.
! {A} looked at every part of {x} on the table.
== fix.need t A y
{A} <needed|wanted> {ay}, but <had none|could not find any>.
for this <job|work>, {A} <needed|had to have> {ay}.
without {ay}, {A} <could not go on|could do nothing|was stuck>.
{A} <looked|searched> <everywhere|in the toolbox|in every drawer> for {ay}.
the toolbox was <full|open>, but there was no {ny} <in it|inside>.
where was {y} when {A} <needed|wanted> it?
only {ay} <could|would> help <now|here>, {A} <knew|thought|said>.
{A} <tried|began> with {his} bare hands but needed {ay}.
{A} <remembered|realized> that {he} <had lost|had broken> {his} {ny}.
! {A} could do nothing without {ay}.
! in the toolbox, {A} <found|saw> everything but {ay}.
== fix.lend tm A B y
{B} <lent|gave|brought> {Ao} {ay}.
<|{his} {r} >{Bn} <owned|had> {ay} and <lent|gave> it to {Ao}.
{A} <borrowed|got> {ay} from <|{his} {r} >{Bn}.
{B} came with {ay} in {bhis} <hand|bag|pocket>.
{Bn} <found|kept> {ay} in {bhis} <garage|cellar|car> <for {Ao}|>.
{A} <phoned|called> {Bo}, who had {ay}.
{B} <handed|passed> {Ao} {y} <through the window|over the fence|with a grin>.
take my {ny}, {B} said, and <gave|handed> it to {Ao}.
{B} <ran|went> home and <came back|returned> with {ay}.
! {B} handed {Ao} {ay} from {bhis} car.
! {A} phoned {Bo} and borrowed {ay}.
== fix.buy tm A y p
{A} <bought|got|found> {ay} in a <shop|store> near {p}.
{A} <rode|hurried|ran> to {p} to <buy|get> {ay}.
near {p}, {A} <bought|found> {ay} for a few coins.
a <cheap|used|new> {ny} from the store near {p} <would do|had to do>.
{A} <spent|paid> {his} last coins <on|for> {ay}.
the <shop|store> by {p} had only one {ny} left.
{A} <came back|returned> from {p} with {ay}.
a <clerk|salesman> near {p} <sold|showed> {Ao} {ay}.
{A} <chose|picked> {ay} in a <dusty|small> <shop|store> near {p}.
! {A} hurried to the store by {p} for {ay}.
! in a small shop near {p}, {A} got {ay}.
== fix.work tm A x y
{A} <used|took> {y} and <worked|bent> over {x} <for an hour|with care>.
with {y}, {A} <fixed|repaired|tightened> the loose part of {x}.
{A} <worked|toiled> on {x} <until {his} back hurt|without a rest|for hours>.
{A} <put|fitted|screwed> {x} together again.
{A} <replaced|straightened> a part of {x} with {y}.
{y} <slipped|fell> twice, but {A} <went on|did not stop|kept working>.
{A} <oiled|tightened> every <wheel|screw|joint> of {x}.
{A} held {y} <tight|firmly> and <turned|worked> <slowly|with care>.
bit by bit, {A} <repaired|fixed> {x}.
! {A} <worked|fixed> with {y} until {x} was together again.
! {A} used {y} on every part of {x}.
== fix.works t A x
{x} <worked|ran> <again|like new|better than before>.
{A} <tried|tested> {x}, and it <worked|ran> <perfectly|like new|at once>.
with a <hum|click>, {x} <came back to life|started again|began to run>.
{x} was <as good as new|repaired|whole again>.
{A} <switched|turned> {x} on, and it <hummed|worked|ran>.
the repair of {x} was a success.
{A} <listened|watched> <proudly|happily> as {x} <worked|ran> again.
it <worked|ran>, {A} <shouted|cried> and <tested|tried> {x} once more.
nobody could <see|tell> that {x} had been broken.
! {A} tested {x}, and it came back to life.
! {x} hummed and ran as before.
== fix.worse t A x
{x} was <now |>in a worse state <than before|than ever>.
{A} <tried|tested> {x}, but <nothing moved|it stayed silent|it did not start>.
with a <crack|bang>, {x} <broke|fell apart> <completely|for good>.
smoke <rose|came> out of {x}.
{x} could not be <saved|repaired> <any more|>.
{A} had three screws <too many|left>, and {x} did not <work|start>.
{A} <carried|threw> {x} <to the junk yard|into the trash>.
the repair <made|had made> {x} even worse.
{A} <kicked|pushed> {x} in anger, for it <did not work|was ruined>.
! {A} tried {x}, but it fell apart.
! {x} was broken for good and went into the trash.
== ill.wake o A x
{A} <woke|woke up|got up> with {ax}.
{A} <had caught|caught|was in bed with> {ax}.
{A} felt <sick|weak|awful> because of {ax}.
it <began|started> with {ax} that would not leave {A} <alone|in peace>.
{A} <could not sleep|was awake> because of {ax}.
{A} <opened|rubbed> {his} eyes and <felt|noticed> {ax}.
{ax} <kept|held> {A} in bed.
{A} <could not|was too weak to> <get up|go to work> with {ax}.
{A} <complained|told everyone> about {ax}.
! {A} was weak and awake with {ax}.
! with {ax}, {A} could not get up.
== ill.bed t A x
{A} <stayed|remained|rested> in bed under <two|three> blankets.
{A} <pulled|drew> the <blanket|cover> over {his} head.
{A} <turned|tossed> from side to side <without sleep|in bed>.
the <curtains|shutters> <stayed|were> closed while {A} <slept|rested>.
{A} <slept|dozed> <most of the {d}|for hours|badly>.
{As} <pillow|bed> was <hot|warm|damp>, and {he} <groaned|sighed>.
with {nx}, {A} could not <eat|read|think>.
{A} <drank|sipped> <hot water|warm milk> and <stayed|rested> under the blanket.
{A} <lay|was> in bed and <listened to|counted> the <clock|noises of the street>.
! {A} rested under the cover and could not <read|eat>.
! the curtains were closed, and {A} groaned in bed.
== ill.call tm A B
{A} <called|phoned> <|{his} {r} >{Bn} <for help|at once>.
{A} <sent|wrote> <|{his} {r} >{Bn} a message from bed.
{A} <asked|begged> <|{his} {r} >{Bn} to <come over|look after {him}>.
<|{his} {r} >{Bn} <heard|learned> that {A} was <ill|sick> <and came at once|and hurried over>.
{Bn} <sat|came and sat> <by|at> {As} bed.
{Bn} <felt|touched> {As} <forehead|hands> and <shook {bhis} head|frowned>.
<|{his} {r} >{Bn} <came|dropped in> to <look after|nurse|see> {Ao}.
{Bn} <hurried|rushed> over to <nurse|look after> {Ao}.
{A} was <glad|relieved> when <|{his} {r} >{Bn} <came over|was there>.
! {A} was ill and phoned {Bo} for help.
! {Bn} came over at once to <see|nurse> {Ao}.
== ill.remedy tm A B y
{B} <brought|made|prepared> {Ao} <a cup of|some> {ny}.
{B} <gave|handed> {Ao} a <spoonful|cup|glass> of {ny}.
{A} <swallowed|drank|took> the {ny} from {Bo}.
{B} <believed in|swore by|praised> {ny} and <gave|brought> {Ao} some.
{A} made a <face|grimace>, but {B} <insisted on|praised> the {ny}.
the {ny} that {B} <brought|made> <tasted|was> <bitter|strong|warm>.
take this {ny}, {B} said, and <held|raised> the <cup|spoon>.
{B} <boiled|warmed|stirred> some {ny} <in the kitchen|for {Ao}>.
{B} had {ny} in {bhis} bag and <gave|poured> {Ao} some.
! {A} drank a cup of {ny} because {B} insisted.
! {B} praised the {ny} and <held|gave> {Ao} a spoon.
== ill.doctor t A p
the doctor <came|arrived> <from {p} |>and <examined|listened to> {As} <chest|heart>.
{A} <saw|went to|was taken to> a doctor <near|by> {p}.
the doctor near {p} <shook his head|wrote a note|frowned> and <told|ordered> {Ao} to rest.
a doctor <looked|peered> down {As} throat.
{A} <sat|waited> in the <waiting room|doctor's office> near {p}.
three days in bed, <ordered|said> the doctor.
the doctor <felt|counted> {As} pulse and <nodded|wrote something down>.
{A} <stuck|put> out {his} tongue for the doctor.
a taxi <took|brought> {Ao} to the doctor <by|near> {p}.
! the doctor by {p} listened to {As} chest.
! {A} was told to rest by a doctor near {p}.
== ill.worse t A x
the {nx} <got|became|grew> <worse|stronger> <in the night|by the hour>.
{As} {nx} was <worse|stronger> <than before|than the day before|by nightfall>.
{A} <trembled|shook|moaned> <with|because of> the {nx}.
nothing <helped|worked> against the {nx}.
{A} <groaned|moaned> <loudly|all night> because of the {nx}.
the {nx} <would not|did not> <leave|get better>.
{A} <spoke|talked> in {his} sleep, <weak|tired> from the {nx}.
{As} <face|skin> was <pale|grey|hot>, and the {nx} <stayed|got worse>.
{A} <felt|was> <weaker|worse> <and could not stand|than in the morning|with every hour>.
! {A} moaned in the night, for the {nx} got worse.
! {As} {nx} did not get better.
== ill.better t A x
the {nx} <went away|was gone|passed> <in the night|after a good sleep|at last>.
{A} <felt|was> <much |>better and <sat up|got up|asked for food>.
{As} {nx} was <almost|nearly> <gone|over>.
{A} <got|jumped> out of bed <without the {nx}|for the first time>.
the color <came back|returned> to {As} <face|cheeks>.
{A} <ate|finished> a <big|whole> <breakfast|sandwich|plate>, for the {nx} was gone.
{A} was <well|healthy|on {his} feet> again.
the worst of the {nx} was over.
{A} <opened|threw open> the curtains and <felt|was> <well|strong> again.
! {A} got up and was <healthy|strong> again.
! the {nx} was over, and {A} ate a big plate.
"""
