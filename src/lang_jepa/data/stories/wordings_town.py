"""Wordings of the stories that happen in town: market, exam, party, visit, a lost thing.

Notation: see ``wordings.py``.
"""

TABLE = """
== shop.list o A B x
{A} <needed|wanted|went out for> {ax} from the market.
{A} <made|wrote> a list for the market, with {nx} at the top.
{Bn} <asked|sent> {Ao} to <buy|get|fetch> {ax} at the market.
{A} <took|grabbed> a <basket|bag> and <went|left> to <buy|find> {nx}.
for {Bo}, {A} <wanted|hoped|planned> to <buy|get> {nx} at the market.
{A} <counted|took> {his} coins and <went|set off> to buy {ax}.
it was market day, and {A} <wanted|needed> {nx}.
{A} and {Bn} <talked about|needed> {nx} for the <kitchen|weekend>.
{A} <hurried|walked> to the market because {Bn} <wanted|needed> {nx}.
! {Bn} needed {nx}, so {A} went to the market.
! with a basket, {A} left to get {nx}.
== shop.crowd t A
~< near {p}| by {p}|>
the market was <full of|crowded with> <people|noise and people>.
{A} <pushed|squeezed> through the crowd <between the stalls|with both elbows|>.
<children|dogs|bells> <ran|made noise> <between|among> the stalls.
<sellers|women|men> <shouted|called out> <their prices|loudly> from every <stall|side>.
at every stall there was a <long |noisy |>line.
{A} <walked|strolled> from stall to stall <and looked around|without hurry|>.
the <square|market> <smelled|was full> of <bread and cheese|flowers|spices>.
{A} <found|got> no room to <stand|move> between the stalls.
a <band|juggler|singer> <entertained|amused> the people <between|among> the stalls.
! a noisy crowd pushed {Ao} from stall to stall.
! {A} strolled among the stalls and heard the sellers.
== shop.price t A x y
{y} <asked|wanted> <too much|a high price|far too much> for {x}.
{A} <asked|heard> the price of {x} and <gasped|frowned|shook {his} head>.
{x} <cost|were> <more than {A} had|too expensive|twice as much as usual>.
{A} <found|saw> {nx} at the stall of {y}<|, but they were expensive>.
eight coins for {nx} was too much, {A} <said|thought>.
{y} <showed|praised> {x} and <named|asked> a <high|steep> price.
{A} <looked at|touched|examined> {x} and asked {y} for the price.
the price <on the sign|of {x}> <surprised|shocked> {Ao}.
in front of {y}, {A} <counted|checked> {his} coins for {x}.
! {x} of {y} were too expensive for {Ao}.
! {A} frowned at the steep price of {x}.
== shop.haggle tm A y
{A} <bargained|argued> with {y} <for a lower price|for ten minutes|without shame>.
{A} <offered|would pay> {y} <half|only half> of the price.
{y} <laughed|grumbled> but <lowered|cut> the price <a little|by half>.
{A} <turned|pretended> to <leave|go> until {y} <gave in|called {him} back>.
{y} and {A} <agreed on|settled> a <fair|lower> price.
six coins, {A} <offered|said>, and {y} <nodded|laughed|sighed>.
{y} <swore|complained> that it was <too little|robbery> <and then agreed|>.
{A} <smiled|talked> until {y} <lowered the price|agreed>.
{y} <scratched|shook> his head <at|over> the offer of {A}.
! {A} offered a lower price, and {y} gave in.
! {y} grumbled and agreed with {Ao} on half of the price.
== shop.buy tm A x y
{A} <paid|gave> {y} <six|seven|a few> coins for {x}.
{A} <bought|got> {x} <from {y}|for a good price|at last>.
{y} <wrapped|packed|put> {x} in <paper|a bag|old newspaper>.
{y} <weighed|counted> {x} and <handed|gave> them to {Ao}.
{A} <put|laid|packed> {x} in {his} <basket|bag>.
{x} <went|disappeared> into the <basket|bag> of {A}.
{A} <chose|picked> the best {nx} <of {y}|on the table> and paid.
the <coins|money> <changed|went> hands, and {A} <got|took> {x}.
{y} <took|counted> the money for {x} and thanked {Ao}.
! {y} gave {Ao} {x} in a paper bag.
! {A} paid and packed {x}.
== shop.purse t A
{As} purse was <gone|empty|not in {his} pocket|stolen>.
{A} <reached|felt> in {his} pocket but found no <purse|money>.
a <thief|pickpocket> <had taken|took> {As} purse.
{A} had <left|forgotten> {his} purse <at home|on the kitchen table>.
{A} <turned|emptied> {his} pockets but <had no money|found only a button>.
there was a <hole|tear> in {As} <pocket|bag> and no purse.
{A} <blushed|turned red> because {he} could not pay.
{A} had to <put everything back|leave the stall> without a purse.
{A} had <lost|dropped> {his} purse <on the way|among the stalls|>.
! {A} could not pay, for {his} purse was gone.
! {As} pocket had a hole, and the money was gone.
== shop.carry tm A B x
{A} <carried|took|brought> {x} to {Bo}.
{A} <gave|handed> {Bo} the <bag|basket> with {x}.
{B} <unpacked|admired|inspected> {x} on the <kitchen |>table.
the <basket|bag> with {x} was heavy, and {B} <took|carried> one side.
{A} <shared|divided> {x} with {Bo}.
{B} <was pleased with|liked|praised> {x} <very much|>.
{A} <showed|brought> {Bo} {x} <proudly|with pride>.
{B} <took|counted> {x} out of the <bag|basket>.
how <fresh|fine|nice> {x} <were|looked>, {B} <said|thought>.
! {B} admired {x} that {A} had brought.
! {A} unpacked {x} on the table for {Bo}.
== exam.announce o A x
{A} had <a test|an exam> in {nx} <on Friday|the next day|in a week>.
the teacher <told|warned> {Ao} about <a test|an exam> in {nx}.
{A} was <afraid of|nervous about> the exam in {nx}.
an exam in {nx} <was waiting|waited> for {Ao}.
{A} <had to|wanted to|must> pass the <big |last |>exam in {nx}.
{A} had <missed|skipped|slept through> many lessons in {nx} before the exam.
for {Ao}, {nx} was the hardest <subject|exam> of all.
{A} <read|saw> on the <board|wall> that the {nx} exam was <near|soon>.
the letter <said|told {Ao}> that the {nx} exam <came first|was on Friday>.
! the teacher told {Ao} that the test in {nx} was soon.
! {A} was nervous because an exam in {nx} was near.
== exam.study tm A x p
{A} <studied|read about|learned> {nx} <at the desk|near {p}|until midnight>.
{A} <opened|carried home> <a|the> book about {nx} and <read|sighed>.
{A} <filled|wrote> <ten|twenty> pages with notes on {nx}.
{A} <borrowed|got> books on {nx} from the library near {p}.
<page after page|hour after hour>, {A} <studied|repeated> {nx}.
{A} <learned|repeated> <rules|whole pages> of {nx} by heart.
in a <quiet|small> room near {p}, {A} studied {nx}.
{A} <underlined|marked|read> every <line|page> in the {nx} book.
{A} <drew|stuck> <notes|pictures> about {nx} on the wall.
! {A} read page after page about {nx}.
! {A} studied {nx} with a book in a room by {p}.
== exam.notes tm A B x
{B} <lent|gave|brought> {Ao} {bhis} notes on {nx}.
<|{his} {r} >{Bn} <explained|taught> {nx} to {Ao} <again|with patience|step by step>.
{A} <copied|borrowed|read> the {nx} notes of {Bn}.
{B} <asked|tested> {Ao} <questions about|on> {nx}.
{B} <knew|understood> {nx} <well|by heart> and <helped|taught> {Ao}.
{A} and <|{his} {r} >{Bn} <studied|practiced|repeated> {nx} together.
with {Bo}, {A} <understood|learned> {nx} <better|in a few hours>.
{B} <drew|made> a <picture|table> to explain {nx}.
{A} did not understand {nx} until {B} <explained|drew> it.
! {B} taught {Ao} {nx} with questions and pictures.
! {A} studied {nx} with the notes that {B} had lent.
== exam.party t A
{A} <went|slipped out> to the <cinema|dance> instead of <studying|the books>.
{A} <closed|left> the books and <watched|played> <games|films> <all night|for hours>.
the books <stayed|remained> <closed|on the shelf> while {A} <played|danced>.
there is <plenty of|enough> time, {A} <said|thought>, and <played games|watched a film>.
{A} <played|kicked> football <with the others |>instead of <reading|studying>.
{A} <spent|wasted> the <night|hours> with games and music.
the <television|music> was <more fun|nicer> than the books.
{A} was too <lazy|bored> to <read|study> <any more|>.
{A} <put|threw> the books <in a corner|under the bed|away>.
! {A} watched films while the books stayed on the shelf.
! instead of reading, {A} danced and wasted the night.
== exam.start t A x
the {nx} exam <began|started> at nine, and {A} <picked up|chewed> {his} pen.
{A} <turned|looked> over the <first|question> page of the {nx} exam.
{A} <sat|took a seat> in the <first|last> row for the {nx} exam.
the teacher <handed out|passed around> the <papers|questions>, and {A} <swallowed|read>.
{A} <read|studied> the <first|second|last> question <twice|three times> and <wrote|swallowed>.
the hall was <silent|quiet> while {A} <wrote|worked on> the {nx} exam.
one question about {nx} was <very hard|new|strange> to {Ao}.
{A} <wrote|answered> <line after line|one question after the other> in the exam.
{As} <hand|pen> <trembled|shook> over the {nx} paper.
! {A} picked up {his} pen when the {nx} exam started.
! in the silent hall, {A} read the first {nx} question.
== exam.pass t A x
{A} <passed|had passed> the {nx} exam <with honors|with ease|after all>.
{A} <got|received> the best <mark|grade> of <the class|all> in {nx}.
the teacher <praised|shook the hand of> {A} for {his} {nx} paper.
{As} name <stood|was> <at the top|first> on the {nx} list.
with only one mistake in {nx}, {A} <cheered|jumped up>.
{A} <opened|read> the letter and <learned|saw> that {he} had passed {nx}.
the {nx} <mark|grade> of {A} was <excellent|very good|a surprise>.
{A} had <answered|solved> every {nx} question <well|correctly>.
<congratulations|well done>, <said|wrote> the teacher of {nx} to {Ao}.
! {A} got an excellent grade in {nx}.
! the teacher wrote that {A} had passed {nx}.
== exam.fail t A x
{A} <failed|did not pass> the {nx} exam <by two points|at all|>.
{A} <got|received> a <bad|terrible|poor> <mark|grade> in {nx}.
{A} <left|handed in> an <almost |>empty page in {nx}.
{As} name was <missing from|at the bottom of> the {nx} list.
red <ink|marks> <covered|filled> {As} {nx} paper.
the teacher of {nx} <shook his head|frowned> at {As} paper.
{A} had <forgotten|mixed up> everything about {nx}.
{A} would have to <repeat|take> the {nx} exam <again|once more>.
not one answer of {A} in {nx} was <right|correct>.
! {A} received a poor grade in {nx} and had to repeat it.
! the {nx} paper of {A} was covered with red ink.
== feast.plan o A B x
{A} <planned|prepared|wanted> a <secret|surprise> party for {Bo}.
it was <almost |nearly |>{Bs} birthday, and {A} <had a plan|wanted a party>.
{A} <wanted|decided|promised> to <celebrate|throw a party for> {Bs} birthday.
{A} <remembered|knew> that {Bs} birthday was near.
{A} <invited|called> twenty guests to {Bs} birthday.
{Bn} <turned|would be> thirty, and {A} <planned|wanted> a party.
do not tell {Bo}, {A} <whispered|said> to the guests of the party.
{A} <wrote|sent> invitations to {Bs} birthday party.
{A} <dreamed|thought> of a <big|surprise> party for {Bo}.
! {A} planned a secret birthday party for {Bo}.
! {A} told the guests about the party for {Bo}.
== feast.present tm A B x
{A} <bought|chose|found> {ax} as a <present|gift> for {Bo}.
{A} <wrapped|packed> {ax} in <silver|gold|shiny> paper.
{ax} would be the <perfect|right|best> <gift|present> for {Bo}.
{A} <saved|spent> {his} money for {ax}.
{A} <hid|kept> {ax} <under the bed|in the closet|behind the sofa>.
{A} <tied|put> a ribbon around {ax}.
{Bn} had always <wanted|wished for|dreamed of> {ax}, so {A} <bought|got> one.
in a shop window, {A} <saw|discovered|found> {ax}.
{A} <asked|told> the clerk to <wrap|pack> {ax}.
! {A} got {ax} for {Bo} and tied a ribbon around it.
! {A} wrapped the gift for {Bo}, {ax}.
== feast.decorate tm A
{A} <hung|pinned> <balloons|lanterns|paper stars> <on the walls|from the ceiling>.
{A} <blew up|filled> <twenty|thirty|fifty> balloons.
{A} <decorated|filled> the room with <flowers|balloons|lights>.
<balloons|paper stars|ribbons> <hung|danced> over the <table|door>.
{A} <moved|pushed> the <sofa|chairs> <aside|to the wall> for the guests.
{A} <wrote|painted> <a name|happy birthday> on a <big|long> banner.
the <room|hall> <looked|was> <festive|colorful> <with all the balloons|and full of lights>.
{A} <climbed|stood> on a <chair|ladder> to hang the <lights|banner>.
{A} <set|laid> the table with <candles|flowers> and <paper hats|ribbons>.
! {A} stood on a ladder and decorated the ceiling with stars.
! the room was full of lanterns and ribbons.
== feast.treats tm A y
{A} <baked|made|prepared> <fifty|sixty|plenty of> {ny}.
{A} <ordered|bought> {ny} <for all the guests|at the bakery>.
there were {ny} on every <plate|table>.
{A} <put|arranged> the {ny} on a <big|silver|round> <plate|tray>.
{A} <tried|tasted|ate> one of the {ny} <in secret|before the party|>.
the {ny} <were|looked> <ready|fresh> and <sweet|warm>.
<fresh|warm|tasty> {ny} <filled|covered> the table.
nobody <baked|made> better {ny} than {A}.
a <tray|plate> of {ny} <stood|was ready> for the guests.
! {A} made plenty of {ny} for the party.
! {A} put a tray of {ny} on the table.
== feast.arrive t A B
when {Bn} <came in|opened the door>, <everyone|all the guests> <shouted|sang|cheered>.
the lights went <on|off>, and {Bn} <walked in|came in>.
{B} <could not believe|rubbed> {bhis} eyes at the <door|party>.
surprise, <everyone|they all> shouted to {Bo}.
{B} <stood|stopped> <in the door|there> with {bhis} mouth open.
the guests <hid|waited> <behind the sofa|in the dark> until {Bn} <came|opened the door>.
{B} <walked|came> in and <cried|laughed|blushed> with surprise.
<everyone|the whole room> <sang|shouted> happy birthday to {Bo}.
{A} <led|pulled> {Bo} into the room, where everyone <cheered|sang>.
! {B} opened the door, and the guests shouted with joy.
! everyone sang when {A} led {Bo} in.
== feast.gift tm A B x
{B} <unwrapped|opened|tore open> {x} from {Ao}.
{B} <loved|admired|tried> {x} <at once|most of all>.
{A} <gave|handed> {Bo} {x} <with a kiss|with a bow|after the cake>.
{B} <lifted|held> {x} <up high |>for <everyone|all the guests> to see.
{x} was the <best|finest> of all {Bs} presents.
{B} <pulled|took> {x} out of the <paper|box>.
how did you know, {B} asked and <hugged|held> {x}.
{B} would not <put down|let go of> {x} <all evening|from {Ao}>.
the <paper|ribbon> <fell|flew off>, and there was {x}.
! {B} held {x} and admired it most of all.
! {B} took {x} from {Ao} and tore the paper.
== feast.dance tm A B
{A} and {B} <danced|sang> <until midnight|all night|on the table>.
the <guests|neighbors> <danced|sang> <until morning|to loud music|in the garden>.
{A} <turned|put> on <loud|old|wild> music <for a dance|>.
{B} <blew out|counted> the candles <in one breath|and made a wish>.
the music was so loud that <the glasses shook|the neighbors complained>.
{A} <asked|pulled> {Bo} <for|into> a dance.
{A} <raised|lifted> a glass to {Bo}.
<everyone|the whole party> danced <around|with> {Bo}.
they <played|invented> <games|silly games> and <ate|finished> the cake.
! {B} danced with the guests to wild music.
! {A} raised a glass, and everyone danced.
== visit.invite o A B x p
{Bn} <invited|asked> {Ao} <to visit|for a visit> <in the house by|near> {p}.
{A} <wanted|planned|decided> to visit {Bo} near {p}.
{A} had not <seen|visited> {Bn} <for years|since spring> and <went|set off> to {p}.
a letter <from {Bn} |>invited {Ao} to a <house|flat> near {p}.
{A} was <on {his} way|invited> to {Bo}, who lived <near|behind|by> {p}.
{A} <missed|thought of> {Bo} and <bought|got> a ticket to {p}.
come and see my new <house|flat> near {p}, wrote {Bn} to {Ao}.
{Bn} <lived|had moved> near {p}, and {A} <wanted|planned> a visit.
{A} <promised|had promised> {Bo} a visit <at|near> {p}.
! {A} had a letter from {Bn} and planned a visit near {p}.
! {A} set off to see {Bo} in the new flat near {p}.
== visit.choose tm A B x
{A} <chose|bought|picked> {ax} for {Bo}.
{A} <did not want|refused> to come without a <gift|present> and <took|bought> {ax}.
{A} <packed|wrapped> {ax} <in blue paper|with a ribbon|for the visit>.
{ax} <was|seemed> a <fine|good|nice> <gift|present> for a visit.
{A} <found|saw> {ax} in a <shop|store> on the way.
in a <small|dusty> shop, {A} <found|chose|bought> {ax}.
{A} <carried|had> {ax} in a bag for {Bo}.
{Bn} would <like|love> {ax}, {A} <thought|hoped>.
{A} <paid|spent> ten coins <for|on> {ax}.
! {A} bought {ax} in a small shop for {Bo}.
! {A} wrapped {ax} and hoped that {Bn} would like it.
== visit.knock t A p
{A} <knocked|rang> <twice|three times> at the <door|house> near {p}.
{A} <rang|pressed> the bell <once more|and waited|of the house by {p}>.
<steps|a dog|a voice> <came|sounded> from behind the door.
{A} <stood|stopped> <in front of|at> the <green|old|blue> door near {p}.
the door of the house near {p} <opened|flew open>.
{A} <climbed|went up> the stairs and <knocked|rang>.
nobody <opened|answered> at first, so {A} knocked <again|louder>.
{A} <found|read> the name on the <bell|door> and <rang|knocked>.
{A} <straightened|brushed> {his} coat <at the door|before {he} knocked>.
! {A} knocked at an old door near {p}.
! {A} pressed the bell again, and the door opened.
== visit.hug tm A B
{B} <hugged|kissed|embraced> {Ao} <at the door|in the hall|with joy>.
{B} <pulled|led> {Ao} into the <house|hall> and <talked|laughed> <without end|>.
how you have <changed|grown>, {B} <cried|said>.
{B} <looked|seemed> <older|thinner|happier> than {A} <remembered|had thought>.
{A} and {B} <fell|ran> into each other's arms.
{B} <took|hung up> {As} <coat|hat> and <smiled|hugged {him}>.
so many years, {B} said, and <wiped|had> tears in {bhis} eyes.
{B} <squeezed|pressed> both hands of {A}.
{A} <recognized|greeted> {Bo} <at once|with a kiss|with a shout of joy>.
! {B} kissed {Ao} and hung up the coat.
! {A} greeted {Bo} with joy in the hall.
== visit.give tm A B x
{A} <gave|handed> {Bo} {x} <at once|after the coffee|in the kitchen>.
{B} <unwrapped|opened> {x} and <smiled|was silent|clapped {bhis} hands>.
{B} <put|set> {x} on the <shelf|table|windowsill>.
how <lovely|pretty>, {B} <cried|said> and <turned|held> {x} to the light.
{x} <found|got> a place <of honor |>in {Bs} <kitchen|room>.
{A} <took|pulled> {x} out of the bag for {Bo}.
{B} already <had|owned> {ax} but <did not say|hid> it.
{x} <was|made> a <great|big> <joy|pleasure> for {Bo}.
{B} <thanked {Ao} for|admired> {x} <again and again|and kissed {him}>.
! {B} opened {x} and held it to the light.
! {A} handed {Bo} {x} out of the bag.
== visit.drink tm A B y
{B} <made|served|poured> {ny} and <brought|cut> some cake.
{A} and {B} <drank|had> {ny} <in the garden|by the window|from old cups>.
{B} <offered|brought> {Ao} <a cup of|some|more> {ny}.
{A} <asked for|drank|enjoyed> <a second|another> <cup|glass> of {ny}.
over a <cup|glass> of {ny}, they <talked|chatted> <about old times|for hours>.
the {ny} was <strong|sweet|cold>, and {A} <drank|emptied> two cups.
{A} <spilled|dropped> {ny} on the <carpet|white cloth>.
there was {ny} and <cake|bread|cheese> on the table.
{B} <stirred|sweetened> the {ny} and <listened|talked>.
! {A} had another cup of {ny} with {Bo}.
! {B} poured {ny} into old cups and talked.
== visit.photos tm A B
{B} <showed|brought> {Ao} <an album|a box> of old <photos|letters>.
{A} and {B} <looked at|laughed over> <old photos|pictures of their childhood>.
{A} <found|saw> {himself} in an old photo <of {Bs}|on the wall|>.
on one photo, {A} was <three|five|six> years old.
{B} <remembered|knew> every <face|name> in the album.
do you remember, {B} asked and <turned|pointed to> a page of the album.
the <photos|letters> were <yellow|old> and <full of memories|hard to read>.
{A} <turned|studied> the pages of {Bs} album.
{B} <kept|had kept> all the <photos|letters> from the old days.
! {B} turned the pages of an album with old pictures.
! {A} laughed over a photo of {his} childhood.
== visit.empty t A B p
but {B} was not <at home|there> <any more|>.
the house <near {p} |>was <dark|empty|locked>, and {B} was <away|gone>.
a neighbor <said|told {Ao}> that {B} had <moved away|left town>.
{A} <read|found> a note <on the door|under the mat> that {B} was away.
behind the <window|curtains> everything was <dark|empty|silent>.
{A} <had come|was> on the wrong day, for {B} was <away|out>.
nobody <had seen|knew> where {B} was.
{A} <looked|peered> through the window of the <empty|dark> house.
the <mailbox|garden> was <full of letters|wild>, and {B} was <gone|away>.
! {A} found the house dark, for {B} was out.
! a neighbor knew that {B} had moved.
"""
