//! Word lists of the guard: which English words carry no question of their own, and which forms belong together.

/// How much a word says about what is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Grammar: articles, pronouns, auxiliaries, prepositions, question words.
    Function,
    /// Padding that may come and go without changing the question: "please", "way", "quickly".
    Generic,
    /// What the question is about.
    Content,
}

/// Grammar. A word that is on both lists is grammar.
pub(super) const FUNCTION: &str = "
a an the this that these those some any such there here it its itself
i me my mine myself we us our ours you your yours u he him his she her hers they them their theirs one ones
am is are was were be been being do does did doing done have has had having
can could may might must shall should will would ought able unable
what which who whom whose when where why how whether if then than as so because while since until unless though although
of in on at by for with without about against between among into onto through during before after above below under over
to from up down out off via per within across along around behind beside beyond near toward towards upon inside outside
versus vs and or but nor not no never neither none except excluding yes too also very really quite just ever yet already
still even again instead else both either each every all etc
";

/// Padding.
pub(super) const GENERIC: &str = "
please kindly thanks thank hi hello hey sorry ok okay well dear greetings
tell explain describe show give help helping list name say mean means ask asking answer answers question questions
know understand learn wonder wondering curious like love want wants wanted need needs needed try trying tried tries
let lets look looking see find figure get gets getting got go going goes make makes making happen happens happening
way ways method methods step steps process procedure instruction instructions guide tutorial approach technique solution
option options idea ideas tip tips advice suggestion suggestions recommend recommended recommendation suggest
best good great better nice easiest easy simple simplest quick quickly fast fastest efficient efficiently properly correctly correct proper
possible possibly exactly exact precisely actually basically currently current now nowadays presently presumably
today generally usually typically normally commonly simply easily effectively
thing things stuff something anything someone anyone somebody anybody people person everyone kind kinds sort type types
use using used uses work works working take takes taking come comes exist exists called
many much more lot lots few little amount number total bit
require required requires necessary meaning definition define purpose purpose detail details brief
information info overall general different various certain specific main
long far often away ago old
allow allowed able available considered perform performed supposed started manage managed
first main own another other others
forgot forgotten stuck having
reason reasons excuse advance regard regarding
friend guy guys sir madam assistant bot ai
rid accomplish achieve handle deal set setup
";

/// The regular form of irregular or differently spelt words: a form a line, before the words it is the form of.
pub(super) const IRREGULAR: &str = "
man men
woman women
child children kids kid
person people
foot feet
tooth teeth
mouse mice
go went gone goes
write wrote written
buy bought
pay paid
make made
send sent
lose lost
break broke broken
take took taken
give gave given
get got gotten
find found
sell sold
tell told
keep kept
leave left
win won
build built
begin began begun
choose chose chosen
drive drove driven
eat ate eaten
fly flew flown
forget forgot forgotten
freeze froze frozen
grow grew grown
hide hid hidden
know knew known
ride rode ridden
see saw seen
speak spoke spoken
steal stole stolen
swim swam swum
teach taught
think thought
throw threw thrown
wear wore worn
kill killed kills
catch caught
feel felt
hold held
lend lent
spend spent
sleep slept
meet met
hear heard
beat beaten
bite bit bitten
run ran
drink drank drunk
sing sang sung
do does did done
color colour colours colors
flavor flavour
favorite favourite
center centre centers centres
license licence licenses licences
program programme
theater theatre
meter metre metres meters
kilometer kilometre kilometres kilometers
liter litre litres liters
gray grey
tire tyre tyres tires
catalog catalogue
photo photos photograph photographs picture pictures pic pics
phone telephone smartphone phones
tv television
fridge refrigerator
app apps
ad advert advertisement ads
repo repository repositories repos
config configuration
db database databases
info information
doc document documents docs
bike bicycle bicycles bikes
exam examination exams
vs versus
ok okay
organize organise organised organized organising organizing
analyze analyse analysing analyzing
";

/// Words of English grammar that other Latin-script languages do not share.
pub(super) const ENGLISH: &[&str] = &[
    "the", "is", "are", "how", "what", "which", "who", "when", "where", "why", "does", "did", "can", "should", "would",
    "will", "my", "your", "of", "with", "and", "to", "from", "for", "this", "that", "you", "it", "not", "i", "a", "in",
    "on", "do", "if", "at", "by",
];

/// Frequent grammar words of other Latin-script languages that are none of English.
pub(super) const FOREIGN: &[&str] = &[
    "der", "das", "ist", "wie", "ich", "und", "nicht", "ein", "eine", "mein", "meine", "kann", "wo", "wann", "warum",
    "le", "les", "est", "une", "je", "comment", "où", "quand", "pourquoi", "mon", "ma", "pour", "dans", "avec", "des",
    "du", "el", "los", "las", "es", "una", "qué", "que", "cómo", "como", "dónde", "cuándo", "por", "para", "mi", "con",
    "il", "gli", "è", "che", "perché", "di", "della", "mio", "uma", "não", "meu", "minha", "onde", "het", "een", "ik",
    "hoe", "niet", "mijn", "waar", "jag", "och", "inte", "jak", "gdzie", "jest", "nie", "si", "den", "dem", "zu",
    "auf", "mit", "für", "von", "nach", "qui", "quel", "quelle", "cuál", "cuánto", "quanto", "quale", "y", "e", "o",
    "de", "la",
];
