"""Wordings of the events that any kind of story may tell: weather, company, waiting, endings.

Notation: see ``wordings.py``.
"""

TABLE = """
== weather.sun w
~< near {p}| by {p}| around {p}|>
the sun <shone|was shining|was> <brightly|warmly|high> <over the roofs|in the sky|on the street>.
it was a <warm|hot|bright|sunny> {d} <without a cloud|with a clear sky|full of light>.
not a <single |>cloud was <to be seen|in sight|left> that {d}.
the sky was <clear|blue|bright> and the <air|wind|street> was <warm|mild|dry>.
{A} <stepped|went|walked> out into the <warm|bright|golden> <light|sunshine>.
<bright|golden|warm> sunshine <filled|covered|lay on> the <street|yard|town>.
the day <promised|looked|seemed> to be <hot|warm|dry> and <bright|clear|sunny>.
{A} <saw|noticed|enjoyed> the <clear|bright|blue> sky and the <warm|golden|strong> sun.
there was <sunshine|light> on every <roof|wall|window> of the <town|street|village>.
! the {d} was <bright|clear> and <warm|hot> under a blue sky.
! the sun was <strong|warm> and there was not a cloud <in sight|over the town>.
== weather.rain w
~< near {p}| by {p}| around {p}|>
rain <was falling|fell|poured> on the <roofs|street|town> <all {d}|without a break|>.
it <was raining|rained> <hard|heavily|steadily> that {d}.
<dark|grey|low> clouds <brought|had brought> <heavy|steady|cold> rain.
{A} <heard|listened to> the rain <on the roof|against the window|in the street>.
the {d} was <wet|grey|rainy> and the <streets|roads|paths> were full of <water|puddles|mud>.
<big|cold|heavy> drops <fell|splashed> <on the ground|from the sky|on the pavement>.
outside, the rain <would not stop|kept falling|grew heavier>.
{A} <pulled|put> on a <coat|hood|raincoat> because of the rain.
water <ran|poured|dripped> from every roof <that {d}|in the street|of the village>.
! it was a rainy {d}, and <water|mud> covered the <streets|paths>.
! heavy rain <fell|poured> <outside|over the town> that {d}.
== weather.wind w
~< near {p}| by {p}| around {p}|>
a <strong|sharp|wild> wind <blew|swept|howled> <through the streets|over the hills|all {d}>.
the wind <was|had grown> <strong|fierce|loud> that {d}.
<leaves|papers|dust> <flew|danced|whirled> <through the air|along the street|across the yard>.
the trees <bent|swayed|shook> in the <strong|wild|loud> wind.
it was a <windy|stormy|rough> {d} and the <shutters|doors|windows> <rattled|banged|shook>.
{A} <held|buttoned> {his} coat <tight|close|shut> against the wind.
the wind <whistled|howled|roared> <around the house|in the chimneys|between the walls>.
{A} could <hardly|barely> <walk|stand|speak> in the <strong|wild|sharp> wind.
every <gust|blast> of wind <rattled|shook> the <windows|doors|shutters>.
! a wild wind <shook|rattled> the trees and the <windows|doors> that {d}.
! the {d} was <windy|rough>, and dust flew <along the street|across the yard>.
== weather.snow w
~< near {p}| by {p}| around {p}|>
<thick|soft|white> snow <covered|lay on> the <ground|roofs|fields|road>.
it <was snowing|had snowed|snowed> <all night|since dawn|heavily|without a break>.
snowflakes <drifted|fell|danced> <slowly|softly|thickly> <to the ground|from the sky|past the window>.
the <town|village|street> was <white|quiet|still> under <deep|fresh|new> snow.
the {d} was <icy|freezing|frosty> and the <ground|road|path> was <white|slippery|frozen>.
{A} <looked|stared|gazed> out at the <deep|fresh|white> snow.
<frost|ice> <covered|sparkled on> the <windows|branches|puddles> that {d}.
{A} put on <warm|thick|heavy> boots because of the snow.
there was <snow|ice> on every <roof|branch|step> <of the street|in the village|in sight>.
! that {d} the <road|village> was white with <fresh|deep> snow.
! snow had covered every <branch|roof> and it was <freezing|icy> outside.
== weather.fog w
~< near {p}| by {p}| around {p}|>
a <thick|grey|heavy> fog <lay|hung> over the <town|fields|water|road>.
the fog was so <thick|dense|heavy> that the <houses|trees|lamps> <vanished|disappeared|faded>.
it was a <foggy|misty|hazy> {d} without <sound|color|shadows>.
<mist|fog> <crept|drifted|rolled> <between the houses|up from the river|along the road>.
nothing could be <seen|made out> in the <grey|white|thick> <mist|fog>.
{A} could <hardly|barely> see the <road|trees|street> through the <fog|mist>.
the <whole|entire> <town|valley|street> was <hidden|wrapped|lost> in <fog|mist>.
{A} <looked|peered|stared> out into the <grey|thick|white> <fog|mist>.
the {d} was <grey|damp|pale>, and the <air|road|light> was full of <fog|mist>.
! thick mist <hid|covered> the <trees|houses> that {d}.
! the <road|town> had disappeared in the <white|grey> fog.
== effect.sun t
~< near {p}| by {p}| behind {p}||>
in the <heat|sun>, {A} <grew|became|felt> <thirsty|sleepy|very hot>.
{A} <looked for|found|chose> some shade and <wiped|dried> {his} <face|forehead|neck>.
the heat <forced|made> {Ao} <to stop|rest> for a <drink|moment in the shade>.
{As} <face|neck|nose> <turned|grew|was> <red|pink> from the sun.
{A} <drank|emptied> a <whole|full> bottle of <water|lemonade> in the heat.
because of the heat, {A} <took off|folded up> {his} <jacket|coat|sweater>.
the <hot|burning|strong> sun soon <tired|bothered|troubled> {Ao}.
{A} <shaded|covered> {his} eyes from the <glare|bright sun|burning light>.
sweat <ran|dripped> down {As} <face|back|neck> in the sun.
! {A} was <thirsty|hot> and <rested|sat> a moment in the shade.
! the sun was so strong that {A} took off {his} jacket.
== effect.rain t
~< near {p}| by {p}| behind {p}||>
{A} was <soon |>soaked <to the skin|from head to foot|through>.
{As} <shoes|socks|sleeves> were <wet|soaked|full of water> from the rain.
the rain <dripped|ran> down {As} <neck|back|collar>.
{A} <jumped|stepped> <over|into> a <deep|big|muddy> puddle and <laughed|sighed|shivered>.
with <wet|dripping> hair, {A} <stood|waited> under <a roof|a tree|an arch> until the rain <eased|slowed>.
the mud <stuck|clung> to {As} <boots|shoes|trousers>.
{A} <shook|wiped> the <water|rain|drops> from {his} <hair|coat|sleeves>.
{As} <coat|jacket|hat> <dripped|was dripping> <on the floor|like a wet towel|from the rain>.
by now the rain had <soaked|ruined|drenched> {As} <clothes|hat|new shoes>.
! {A} had wet <shoes|socks> and muddy <trousers|boots> by now.
! the rain <soaked|drenched> {As} <coat|hair> to the skin.
== effect.wind t
~< near {p}| by {p}| behind {p}||>
a <sudden|strong|sharp> gust <blew|carried|tore> {As} <hat|cap|hood> away.
{A} <chased|ran after> {his} <hat|cap|papers> <down the street|across the yard|in the wind>.
the wind <blew|threw|drove> dust into {As} <eyes|face|hair>.
{A} had to <hold|grip> {his} <hat|cap|hood> with both hands.
a <branch|shutter> <crashed|fell> to the ground <right beside|close to|in front of> {Ao}.
the wind <slammed|banged> a door <behind|next to|beside> {Ao}.
{As} <hair|hat|shawl> was <blown|torn|pulled> in every direction.
a gust <nearly|almost> <knocked|pushed|threw> {Ao} over.
{A} <leaned|struggled|pushed> <hard |>against the gusts.
! the gusts <pulled|tore> at {As} <hair|coat> and <nearly|almost> pushed {him} over.
! {A} ran after {his} hat because a gust had <carried|blown> it away.
== effect.snow t
~< near {p}| by {p}| behind {p}||>
{A} <slipped|slid> on the ice <and fell|but did not fall|near a step>.
{As} <fingers|hands|ears|toes> were <numb|stiff|red> with cold.
{A} <rubbed|warmed|blew on> {his} <cold |frozen |>hands.
{A} <sank|stepped> <deep |>into the snow up to {his} <knees|ankles>.
a <lump|load|heap> of snow <fell|slid> from a roof onto {As} <head|shoulders|hat>.
{A} <brushed|shook> the <snow|flakes> from {his} <coat|hat|shoulders>.
{A} <shivered|trembled> and <stamped|moved> {his} <cold|frozen> feet.
snow <got|crept|fell> into {As} <boots|collar|gloves>.
{As} breath <turned|froze> into <little|small|white> clouds.
! {A} <trembled|shivered> because {his} hands were <stiff|frozen>.
! {As} boots were full of snow and {his} <feet|toes> were numb.
== effect.fog t
~< near {p}| by {p}| behind {p}||>
{A} <took|followed|chose> the wrong <path|turn|street> in the <mist|fog>.
{A} <bumped|walked|ran> <straight |>into a <post|lamp|wall> that {he} had not seen.
{A} <lost|missed> {his} way <twice|for a while|and turned back>.
{A} <heard|noticed> <steps|voices> but could not see <anybody|a single face>.
{A} <walked|moved|went> <on |>with {his} hands <held |stretched |>out in front.
for a <moment|while>, {A} did not <know|see> where {he} was.
a <shape|figure|shadow> in the mist <frightened|startled|puzzled> {Ao}.
{A} <mistook|took> a <post|bush|tree> for a <person|stranger|man>.
{A} <called|shouted> out, but <only the fog|nobody> <answered|replied>.
! {A} did not see the <path|wall> and lost {his} way.
! in the fog, {A} <followed|heard> steps and took the wrong turn.
== mind.wait t
{A} <waited|stayed> <there |> for a <long|good> while<| without moving>.
the minutes <passed|went by|crept by> <very |>slowly.
nothing <much |>happened for <some time|quite a while|a long time>.
{A} <looked|glanced> at the clock <again and again|twice|once more>.
there was nothing to do but <wait|be patient|hope>.
{A} <walked|paced> up and down <to pass the time|for a while|for a few minutes>.
time <seemed|appeared> to <stand still|stop|slow down>.
{A} <sat|stood> <still|there> and counted the <minutes|seconds|hours>.
it <took|needed|lasted> <longer|much longer> than <planned|expected|anyone had thought>.
! {A} <sat|stayed> there and waited, but time passed <slowly|very slowly>.
! for <quite a while|some time> {A} could only <wait|be patient>.
== mind.rest t A
{A} <sat down and|stopped to|took time to> <eat|finish> <a pear|an orange|a plum|a banana|a sandwich>.
{A} <drank|had|finished> <a glass|a bottle|a cup> of <water|milk|lemonade> <and rested|in peace|>.
{A} <stretched|rubbed> {his} <legs|arms|back> and <sat|rested> <a little|for a while|for a moment>.
{A} <rested|leaned back|sat> and <looked at|counted> the <birds|clouds|leaves> <for a while|>.
{A} <closed {his} eyes|leaned back|put {his} feet up> <for five minutes|for ten minutes|a little>.
{A} <ate|bit into|shared> <a plum|a pear|an orange|a banana> <with the birds|in peace|hungrily|>.
{A} <needed|took|enjoyed> a <short|little|long> <break|rest> <before going on|and yawned|>.
{A} <found|ate> <a candy|an old nut|some chocolate> in {his} <pocket|bag|coat>.
{A} <hummed|whistled|sang> <an old|a new|a slow> <song|tune> <and rested|under {his} breath|>.
! {A} rested for a while and <ate|finished> <a pear|a plum|an orange>.
! {A} drank some <water|lemonade> and leaned back <a little|for a moment>.
== mind.worry t
{A} <wondered|asked {himself}> what to do <now|about it|if it went wrong>.
a <worried|troubled|nervous> <look|frown> <came|crept> over {As} face.
{A} <could not help|kept> <worrying|thinking> about <it all|the whole thing|what might happen>.
{A} <bit|chewed> {his} lip and <thought|frowned|worried> <for a moment|in silence|hard>.
doubts <filled|troubled|bothered> {As} <mind|heart|head>.
{A} <was|felt> <worried|uneasy|anxious> and <hardly|barely> spoke.
what if it all <went wrong|came to nothing|failed>?
{A} <scratched|shook> {his} head and <tried|wanted> to <stay|keep> calm.
{A} <feared|expected|imagined> the worst <for a moment|for a while|in silence>.
! {A} frowned and <worried|feared> that it might <come to nothing|go wrong>.
! <uneasy|worried|nervous> doubts <filled|crept into> {As} head.
== pal.join tm A B r
{A} <met|found> <|{his} {r} >{Bn}, who <wanted|offered|was glad> to help.
<|{his} {r} >{Bn} <came along|came by|appeared> and <offered|promised> {Ao} some help.
{Bn} <decided|offered> to <join|help|come with> {Ao}.
{A} <asked|begged> <|{his} {r} >{Bn} <for help|to come along|to join {him}>.
<|{his} {r} >{Bn} had time to <help|come along>.
{Bn} said that two <heads|pairs of hands> were better than one.
{Bn} <stayed|remained|was> <at {As} side|with {Ao}>.
{B} <would not|did not want to> <let|leave> {Ao} <do it |>alone.
{A} was <glad|happy|pleased> that {Bn} <would come|came> along.
! <|{his} {r} >{Bn} <came|appeared> and wanted to <help|join> {Ao}.
! {A} was not alone, for {Bn} had <offered|promised> to help.
== pal.promise tm A B
{B} <promised|swore> to <come back|return> <before dark|very soon|as soon as possible>.
{B} <gave|made> {Ao} a <promise|solemn promise> to come back.
{B} had to leave but <promised|would try> to <return|be back> <later|in time>.
{B} <said|told {Ao}> that {bhe} would <be back|return> <soon|later|before dark>.
{B} <shook|pressed> {As} hand and <promised|swore> not to forget.
{B} <left|went off> with a promise to <return|come again>.
{A} <made|let> {Bo} promise to <return|come back|come again>.
you can <count|rely> on me, {B} said, and <left|went off|hurried away>.
{B} <left|had to go> for a while, but {bhe} <gave {bhis} word|promised> to return.
! {B} said that {A} could <count|rely> on {bhim} and <left|hurried away>.
! with a promise to <come back|be back soon>, {B} left.
== pal.keep tm A B
{B} <kept|had kept> {bhis} <word|promise> and <came back|returned>.
just as promised, {B} <came back|returned|appeared> <in time|at the door|again>.
{B} <returned|came back>, as {bhe} had <promised|said|sworn>.
{A} <heard|saw|recognized> {Bo} <coming back|at the door|on the path>, as promised.
{B} had not <forgotten|broken> the promise.
there {B} was again, <true to {bhis} word|right on time|out of breath but smiling>.
{A} had <known|been sure> that {B} would keep {bhis} <word|promise>.
{B} <hurried|rushed> back <in time|to {Ao}> and kept {bhis} promise.
! the promise was <kept|not forgotten>, and {B} came back to {Ao}.
! {B} came back <in time|smiling>, true to the promise.
== pal.forget t A B
{B} <forgot|had forgotten> {bhis} <promise|word> <entirely|completely|again>.
{A} <waited|looked out> for {Bo} <in vain|for hours>, but nobody came.
{B} <never|did not> <came back|return>, <in spite of|despite> the promise.
so much for the promise <that {B} had made|of {Bo}>.
{B} <broke|did not keep> {bhis} <word|promise>.
the promise was <broken|forgotten>, and {A} <stayed|remained> <alone|without help>.
{A} was <hurt|disappointed|annoyed> that {B} had <stayed away|not come back>.
{B} <simply |>did not <come back|return|appear>.
{B} had <promised|sworn> to return but <stayed away|was not seen again>.
! {A} was alone because {B} had forgotten the promise.
! {B} stayed away and <forgot|broke> {bhis} word.
== pal.thank tm A B
{A} <thanked|hugged|embraced> {Bo} <warmly|with all {his} heart|again and again>.
{A} <said|told {Bo}> that {he} <was grateful|would never forget this>.
{A} <gave|offered> {Bo} a <big|warm|grateful> <hug|smile>.
thank you <so much|for everything>, {A} said to {Bo}.
without {Bo}, {A} <would have failed|could not have done it|would have given up>.
{A} <invited|asked> {Bo} to <dinner|supper|lunch> <as thanks|in return|to say thanks>.
{A} <shook|pressed> {Bs} hand <for a long time|gratefully|and thanked {bhim}>.
{A} did not know how to <thank|repay> {Bo} <enough|for the help>.
{B} <blushed|smiled> when {A} <thanked|praised> {bhim}.
! {A} told {Bo} how grateful {he} was for the help.
! thanks to {Bo}, {A} had not <failed|given up>.
== pal.joke tm A B
{B} <told|made> a <joke|funny story> and {A} <laughed|had to smile|felt better>.
{B} <cheered|tried to cheer> {Ao} up <with a song|with a joke|a little>.
{B} <sang|hummed|whistled> a <silly|funny|cheerful> <song|tune> to <cheer|amuse> {Ao}.
{A} and {B} <joked|chatted|laughed> <together|all the while|like children>.
{A} <laughed|giggled|smiled> at {Bs} <silly|funny|old> <jokes|faces|stories>.
{B} <kept|knew how to keep> {As} spirits up.
do not <worry|give up>, {B} said, and <patted|squeezed> {As} <shoulder|arm|hand>.
{B} <made|pulled> a <silly|funny> face until {A} <laughed|smiled|giggled>.
with {Bo}, it was <easy|possible|not hard> to <laugh|smile|stay cheerful>.
! {B} sang and joked until {A} felt <better|cheerful>.
! {A} had to laugh <about|at> a funny story of {Bs} <childhood|family>.
== end.home e
{A} <went|walked|made {his} way> <slowly |quickly |>home< from {p}|>.
it was <time|late enough> to go home, and {A} <left|set off|did not stay>.
{A} <closed|shut|locked> the door <of {his} house |>behind {him}.
on the way home, {A} <hummed|whistled|said little>.
{A} <came|got|returned> home <after dark|late|before midnight> <that day|>.
the way home <was|seemed|felt> <short|long|easy>.
{A} was <back|safe> at home <at last|by nightfall|before dark>.
{A} <took off|kicked off> {his} shoes <at home|in the hall|by the door>.
lights were <on|burning> in the windows when {A} <came|got> home< from {p}|>.
! {A} <left|went> and was back home before dark.
! at home, {A} shut the door and <hummed|took off {his} coat>.
== end.happy e
{A} had <seldom|rarely|never> been <so|this> <happy|pleased|cheerful>.
{A} was <happy|pleased|delighted> with <the day|how it had ended|everything>.
a <big|wide|happy> smile <spread over|lit up|stayed on> {As} face.
it had been a <good|wonderful|perfect|lucky> day <after all|for {Ao}|>.
{A} <sang|danced|jumped> <with|for> joy.
all had <ended|turned out|gone> well <after all|in the end|for {Ao}>.
{A} felt <proud|light|as happy as a child|like a winner>.
what a <wonderful|lucky|splendid> day it had been for {Ao}!
{As} <eyes|cheeks> <shone|glowed> with <joy|pride|happiness>.
! {A} smiled, for the day had ended <well|happily>.
! {As} heart was <light|full of joy> in the end.
== end.sad e
{A} was <sad|disappointed|unhappy> <about it|all evening|for days>.
{A} <wiped|hid> a tear <from {his} cheek|in secret|with {his} sleeve>.
it had been a <bad|sad|miserable|gloomy> day <for {Ao}|after all|>.
all the <trouble|effort|work> had been <in vain|for nothing|useless>.
{A} <hung|shook> {his} head and <sighed|said nothing|felt miserable>.
{A} <had rarely|had never|seldom> felt so <low|sad|unhappy>.
nothing had <gone|turned out|worked> as {A} had <hoped|planned|wished>.
{A} <sighed|swallowed> and tried not to cry.
{A} <did not want|refused> to <talk|speak|hear> about it <any more|that day>.
! {A} was unhappy, for it had all been in vain.
! with a tear on {his} cheek, {A} <said nothing|sighed>.
== end.again e
{A} <wanted|planned|decided> to try <it |>again <next week|soon|next month>.
next time, {A} would <do it|plan it|begin> <better|differently|earlier>.
{A} <hoped|wished> for <better luck|more luck|another chance> next time.
there would <surely |>be <another day|a next time|another chance>.
{A} <learned|had learned> <something|a lesson|a lot> from it.
{A} <wrote|put> it all <down |>in {his} diary <that night|before bed|>.
one day, {A} <thought|told {himself}>, it would <work|be different>.
{A} had not <given up|lost hope|lost courage>.
{A} <made|had> <new plans|a new plan> <before bed|that night|at once>.
! {A} had learned a lesson and would <begin|try> again.
! {A} <thought|hoped> that next week would be better.
== end.rest e
{A} <fell asleep|went to sleep> <at once|in a chair|with a smile|before nine>.
<tired|exhausted|weary>, {A} <went|crept|sank> <to bed|into bed>.
{A} <slept|dreamed> <deeply|well|soundly> that night.
{A} <yawned|stretched> and <turned off|put out|blew out> the light.
that night {A} dreamed <of it all|of the day|a strange dream>.
{A} <lay|was> in bed <early|before nine> and <closed {his} eyes|slept>.
sleep <came|took {Ao}> <quickly|at once|easily>.
{As} eyes <closed|fell shut> <at once|by themselves> that night.
{A} was so <tired|weary> that {he} <slept|fell asleep> in {his} clothes.
! {A} <went to bed|closed {his} eyes> and slept at once.
! <weary|tired>, {A} put out the light and dreamed.
== end.tell e
{A} <told|described> the whole story <at dinner|to everyone|at home|on the phone>.
everyone at home <wanted|begged> to hear {As} story.
{A} <talked|spoke> about <it|the day> <for hours|until midnight|all evening>.
the <family|neighbors|children> <listened|laughed|wondered> when {A} <told|described> it.
nobody <believed|would believe> {As} <story|tale> <at first|at home|>.
{A} <phoned|called|wrote to> {his} mother and <told|described> <everything|it all>.
{A} <sent|wrote> a <long|short|funny> message about <the day|it> to {his} <parents|sisters|family>.
the story <made|had> <everybody|the whole family> <laugh|smiling|wonder>.
{A} <had|now had> a <good|fine|new> story to tell.
! {A} phoned {his} <parents|family> and told the story.
! when {A} described the day, everyone <listened|laughed>.
"""
